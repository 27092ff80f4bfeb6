// SPDX-License-Identifier: MIT
/* Slots: pages that never move, lists by index, and the word that tells whose driver it is. */
#include "driver.h"

#include <sys/mman.h>

/* Its address names the thread: no two that live at once share it. */
_Thread_local char evr_thread_token __attribute__((tls_model("initial-exec")));

static size_t life_sz(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int evr_slots_init(struct evr_driver *d)
{
	uint32_t pages = (d->options.ops_max + PAGE_SLOTS - 1) / PAGE_SLOTS;

	d->life = mmap(NULL, life_sz(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (d->life == MAP_FAILED) {
		d->life = NULL;
		return -ENOMEM;
	}
	/* A child reads zeros here: no handler of pthread_atfork() is needed. */
	if (madvise(d->life, life_sz(), MADV_WIPEONFORK))
		return evr_fail(-EOPNOTSUPP, "driver: the kernel lacks MADV_WIPEONFORK (4.14)");
	d->life->made = 1;
	d->pages = calloc(pages, sizeof(*d->pages));
	return d->pages ? evr_slots_grow(d) : -ENOMEM;
}

void evr_slots_fini(struct evr_driver *d)
{
	uint32_t i;

	for (i = 0; d->pages && i < d->slots_nr / PAGE_SLOTS; i++) {
		free(d->pages[i]->extras);
		free(d->pages[i]);
	}
	free(d->pages);
	free(d->heap);
	if (d->life)
		munmap(d->life, life_sz());
}

/* One page more. -EAGAIN: there are as many as there may be. */
int evr_slots_grow(struct evr_driver *d)
{
	uint32_t first = d->slots_nr, i;
	struct page *page;

	if (first + PAGE_SLOTS > EVR_ROUND_UP(d->options.ops_max, PAGE_SLOTS))
		return -EAGAIN;
	/* Every slot may be a timer, so none fails for want of a place among them. */
	if (evr_heap_reserve(d, first + PAGE_SLOTS))
		return -ENOMEM;
	page = aligned_alloc(sizeof(struct slot), EVR_ROUND_UP(sizeof(*page), sizeof(struct slot)));
	if (!page)
		return -ENOMEM;
	memset(page, 0, sizeof(*page));
	d->pages[first / PAGE_SLOTS] = page;
	for (i = PAGE_SLOTS; i-- > 0;) {
		page->slots[i].gen = 1;
		page->slots[i].self = (uint32_t)KIND_OP << INDEX_BITS | (first + i);
		page->slots[i].free = d->free;
		d->free = &page->slots[i];
	}
	d->slots_nr += PAGE_SLOTS;
	return 0;
}

int evr_extras_make(struct evr_driver *d, uint32_t page)
{
	struct extra *extras = calloc(PAGE_SLOTS, sizeof(*extras));

	if (!extras)
		return -ENOMEM;
	d->pages[page]->extras = extras;
	return 0;
}

void evr_life_bind(struct evr_driver *d)
{
	d->life->owner = &evr_thread_token;
}

bool evr_life_is_bound(const struct evr_driver *d)
{
	return d->life->owner;
}

int evr_life_bad(const struct evr_driver *d)
{
	if (!d->life->made)
		return evr_fail(-ECHILD, "driver: it belongs to the parent of this process");
	if (!d->life->owner)
		return evr_fail(-EXDEV, "driver: call evr_driver_attach() first");
	return evr_fail(-EXDEV, "driver: it belongs to another thread; use its injector");
}

void evr_list_push(struct evr_driver *d, struct list *list, uint32_t index)
{
	struct slot *s = slot_at(d, index);

	d->due = true;
	d->quick = 0;
	s->next = NONE;
	s->prev = list->nr ? list->tail : NONE;
	if (list->nr++)
		slot_at(d, list->tail)->next = index;
	else
		list->head = index;
	list->tail = index;
}

void evr_list_push_front(struct evr_driver *d, struct list *list, uint32_t index)
{
	struct slot *s = slot_at(d, index);

	d->due = true;
	d->quick = 0;
	s->prev = NONE;
	s->next = list->nr ? list->head : NONE;
	if (list->nr++)
		slot_at(d, list->head)->prev = index;
	else
		list->tail = index;
	list->head = index;
}

void evr_list_remove(struct evr_driver *d, struct list *list, uint32_t index)
{
	struct slot *s = slot_at(d, index);

	if (s->prev == NONE)
		list->head = s->next;
	else
		slot_at(d, s->prev)->next = s->next;
	if (s->next == NONE)
		list->tail = s->prev;
	else
		slot_at(d, s->next)->prev = s->prev;
	list->nr--;
}
