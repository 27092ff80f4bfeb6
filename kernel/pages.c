// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a segment: the hunt for contiguous blocks, and their end.
 *
 * A block is a compound folio of the buddy allocator's, at most 2 MiB. Its mapping
 * is the segment inode's, or with EVERING_BACKING_SHMEM a shmem inode's (shmem.c), which
 * makes shared futexes work on it; being of the PMD's order, it is mapped by one entry.
 * Whoever holds a reference (a registered io_uring buffer, a page in a pipe) keeps it
 * alive after the segment is gone: blocks are freed by dropping our reference, never by
 * force. Until the others are dropped too, the block stays in limbo and charged.
 */
#include <linux/bsearch.h>
#include <linux/file.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "evering.h"

#define HUNT_GFP (GFP_KERNEL_ACCOUNT | __GFP_COMP | __GFP_NOWARN)
#define SEEDS_MAX 8	/* runs that are tried to be completed */
#define FILL_TRIES 4
#define HUNT_MORE_MIN 8U	/* blocks */
#define HUNT_PAST_MIN 128U	/* blocks between others, past which more may be free */
#define LIMBO_PERIOD HZ

/* Blocks allocated but not yet anybody's. */
struct hunt {
	unsigned long *pfn;
	u32 nr;
	u32 max;
	u32 want;
	unsigned int order;
	int node;
	gfp_t gfp;
	bool contiguous;	/* or it is for nothing */
};

/* Hunters take more than they keep: one of them at a time. */
static DEFINE_MUTEX(hunt_mutex);

static DEFINE_MUTEX(limbo_mutex);
static LIST_HEAD(limbo); /* struct evering_memory with blocks pinned by others */
static void limbo_tick(struct work_struct *work);
static DECLARE_DELAYED_WORK(limbo_work, limbo_tick);

static void free_pfns(const unsigned long *pfn, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++)
		put_page(pfn_to_page(pfn[i]));
}

static bool hunt_one_on(struct hunt *hunt, int node, gfp_t effort)
{
	struct page *page;

	if (hunt->nr == hunt->max)
		return false;
	page = alloc_pages_node(node, hunt->gfp | effort, hunt->order);
	if (!page)
		return false;
	hunt->pfn[hunt->nr++] = page_to_pfn(page);
	return true;
}

static bool hunt_one(struct hunt *hunt, gfp_t effort)
{
	cond_resched();
	return hunt_one_on(hunt, hunt->node, effort);
}

/* What must be had, wherever it is. */
static int hunt_enough(struct hunt *hunt)
{
	while (hunt->nr < hunt->want) {
		if (fatal_signal_pending(current))
			return -EINTR;
		if (!hunt_one(hunt, __GFP_NORETRY) && !hunt_one(hunt, __GFP_RETRY_MAYFAIL))
			return -ENOMEM;
	}
	return 0;
}

static struct evering_run hunt_sort(struct hunt *hunt)
{
	evering_runs_sort(hunt->pfn, hunt->nr);
	cond_resched();
	return evering_runs_longest(hunt->pfn, hunt->nr, 1UL << hunt->order);
}

/*
 * How many blocks may be taken in the hope that a run becomes complete: a quarter more,
 * unless it must be. The allocator hands out free blocks between others before it breaks
 * larger pieces, so these are to be got past; and without filling, luck is the only way.
 */
static u32 hunt_limit(const struct hunt *hunt)
{
	u32 want = hunt->want, more = max(want / 4, HUNT_MORE_MIN);

	if (hunt->contiguous && !EVERING_HAS_CONTIG_FILL)
		more = want + want / 2;
	if (hunt->contiguous)
		more = max(more, HUNT_PAST_MIN);
	return want + more;
}

/* Gives back all but nr blocks, those of the longest runs. */
static void hunt_trim(struct hunt *hunt, u32 nr)
{
	evering_runs_sort(hunt->pfn, hunt->nr);
	evering_runs_keep(hunt->pfn, hunt->nr, 1UL << hunt->order, nr);
	free_pfns(hunt->pfn + nr, hunt->nr - nr);
	hunt->nr = nr;
}

static bool hunt_more(struct hunt *hunt)
{
	u32 step = max_t(u32, hunt->want / 16, 1);
	u32 limit = hunt_limit(hunt);

	while (hunt_sort(hunt).nr < hunt->want) {
		u32 until = min(hunt->nr + step, limit);

		while (hunt->nr < until)
			if (fatal_signal_pending(current) || !hunt_one(hunt, __GFP_NORETRY))
				return hunt_sort(hunt).nr >= hunt->want;
		if (hunt->nr >= limit)
			return hunt_sort(hunt).nr >= hunt->want;
	}
	return true;
}

#if EVERING_HAS_CONTIG_FILL
/* Frames [low, high). */
struct span {
	unsigned long low;
	unsigned long high;
};

static int compare_pfn(const void *key, const void *element)
{
	const unsigned long *x = key, *y = element;

	return *x < *y ? -1 : *x > *y;
}

/* Might the block at pfn be emptied by migration? Cheap tests, as a hint only. */
static bool block_movable(unsigned long pfn, struct zone *zone)
{
	unsigned long end = pfn + EVERING_BLOCK_PAGES;

	for (; pfn < end; pfn++) {
		struct page *page = pfn_to_online_page(pfn);

		if (!page || page_zone(page) != zone || PageReserved(page) || PageHuge(page))
			return false;
	}
	return true;
}

/* A failure leaves the pageblock with the type that is given here. */
static int contig_one(unsigned long pfn, bool movable)
{
	return evering_alloc_contig(pfn, pfn + EVERING_BLOCK_PAGES, movable,
				    GFP_KERNEL | __GFP_COMP | __GFP_NOWARN);
}

/*
 * Empties the block at pfn by migration and takes it. The allocator that can empty it
 * refuses to account to a memory cgroup. So the block goes back, and comes from the
 * buddy allocator at once, which on one CPU hands out first what was freed last, or
 * the neighbour that it was merged with. If somebody else was quicker, we have got a
 * few blocks more than we need.
 */
static bool fill_one(struct hunt *hunt, unsigned long pfn, struct zone *zone)
{
	gfp_t effort = __GFP_NORETRY | __GFP_THISNODE;
	int tries = FILL_TRIES;
	bool got;

	if (hunt->nr == hunt->max || fatal_signal_pending(current) || !block_movable(pfn, zone))
		return false;
	if (contig_one(pfn, true))
		return false;
	/* It is free now: changing its type cannot fail half-way, with others' pages in it. */
	put_page(pfn_to_page(pfn));
	if (contig_one(pfn, false))
		return false;
	if (zone_idx(zone) != gfp_zone(GFP_KERNEL))
		effort |= __GFP_DMA32;
	migrate_disable();
	put_page(pfn_to_page(pfn));
	do {
		got = hunt_one_on(hunt, zone_to_nid(zone), effort);
	} while (got && hunt->pfn[hunt->nr - 1] != pfn && --tries);
	migrate_enable();
	cond_resched();
	return got && tries;
}

/* Lengthens the run on both sides; true when it is long enough. */
static bool fill_run(struct hunt *hunt, struct span *run, u32 sorted)
{
	struct zone *zone = page_zone(pfn_to_page(run->low));
	const unsigned long step = EVERING_BLOCK_PAGES;
	bool up = true, down = run->low >= step;
	unsigned long next;

	while ((run->high - run->low) / step < hunt->want && (up || down)) {
		next = up ? run->high : run->low - step;
		if (!bsearch(&next, hunt->pfn, sorted, sizeof(next), compare_pfn) &&
		    !fill_one(hunt, next, zone)) {
			if (!up)
				down = false;
			up = false;
		} else if (up) {
			run->high += step;
		} else {
			run->low -= step;
			down = run->low >= step;
		}
	}
	return (run->high - run->low) / step >= hunt->want;
}

/* The longest run that does not lie in one of the spans tried before. */
static struct evering_run fresh_run(const struct hunt *hunt, const struct span *tried, int nr)
{
	struct evering_run run, best = {};
	u32 first;
	int i;

	for (first = 0; first < hunt->nr; first += run.nr) {
		run = evering_runs_next(hunt->pfn, hunt->nr, first, EVERING_BLOCK_PAGES);
		for (i = 0; i < nr; i++)
			if (hunt->pfn[first] >= tried[i].low && hunt->pfn[first] < tried[i].high)
				break;
		if (i == nr && run.nr > best.nr)
			best = run;
	}
	return best;
}

/*
 * Fills the gaps next to the longest runs by moving other pages away. What a run that
 * could not be completed has taken goes back, or there would be no room for the next.
 */
static void hunt_fill(struct hunt *hunt)
{
	struct span tried[SEEDS_MAX], *span;
	struct evering_run run;
	int i;

	for (i = 0; i < SEEDS_MAX; i++) {
		if (hunt->nr > hunt_limit(hunt))
			hunt_trim(hunt, hunt_limit(hunt));
		evering_runs_sort(hunt->pfn, hunt->nr);
		run = fresh_run(hunt, tried, i);
		if (!run.nr)
			return;
		span = &tried[i];
		span->low = hunt->pfn[run.first];
		span->high = span->low + (unsigned long)run.nr * EVERING_BLOCK_PAGES;
		if (fill_run(hunt, span, hunt->nr) || fatal_signal_pending(current))
			return;
	}
}
#else
static void hunt_fill(struct hunt *hunt)
{
}
#endif

/* The first want frames become the ones to keep, the others are given back. */
static u64 hunt_keep(struct hunt *hunt)
{
	struct evering_run run = hunt_sort(hunt);

	hunt_trim(hunt, hunt->want);
	return (u64)min(run.nr, hunt->want) << (PAGE_SHIFT + hunt->order);
}

/* Makes the longest run longer. One at a time: it takes more than it keeps. */
static int hunt_long(struct hunt *hunt)
{
	int rc = mutex_lock_killable(&hunt_mutex);

	if (rc)
		return rc;
	if (!hunt_more(hunt))
		hunt_fill(hunt);
	mutex_unlock(&hunt_mutex);
	return 0;
}

static int hunt_run(struct hunt *hunt, struct evering_request *request)
{
	int rc;

	rc = hunt_enough(hunt);
	if (!rc && hunt->want > 1)
		rc = hunt_long(hunt);
	if (!rc) {
		request->best_run = hunt_keep(hunt);
		if (fatal_signal_pending(current))
			rc = -EINTR;
		else if (request->contiguous && request->best_run < request->bytes)
			rc = -ENOSPC;
	}
	if (rc)
		free_pfns(hunt->pfn, hunt->nr);
	return rc;
}

static void clear_folio(struct folio *folio)
{
	long i, nr = folio_nr_pages(folio);

	for (i = 0; i < nr; i++) {
		clear_highpage(folio_page(folio, i));
		if (!(i % 64))
			cond_resched();
	}
}

static void adopt_folio(struct folio *folio, struct inode *inode, pgoff_t index)
{
	clear_folio(folio);
	folio_lock(folio);
	folio->mapping = inode->i_mapping;
	folio->index = index;
	/* Dirty for ever: NUMA balancing leaves dirty file pages where they are. */
	folio_mark_dirty(folio);
	folio_unlock(folio);
}

/* The folio leaves its segment; others may still hold it. */
static void disown_folio(struct folio *folio)
{
	folio_lock(folio);
	WARN_ON_ONCE(folio_mapped(folio));
	folio->mapping = NULL;
	folio->index = 0;
	folio_unlock(folio);
}

static int adopt_block(struct evering_memory *memory, struct inode *inode, struct folio *folio,
		       pgoff_t index)
{
	if (!memory->shmem) {
		adopt_folio(folio, inode, index);
		return 0;
	}
	clear_folio(folio);
	return evering_shmem_add(memory->shmem, folio, index);
}

static void disown_block(struct evering_memory *memory, struct folio *folio)
{
	if (memory->shmem)
		evering_shmem_remove(memory->shmem, folio);
	else
		disown_folio(folio);
}

static int adopt_all(struct evering_memory *memory, struct inode *inode, const struct hunt *hunt,
		     u64 first)
{
	const pgoff_t start = EVERING_DATA_OFFSET >> PAGE_SHIFT;
	struct folio *folio;
	u32 i;
	int rc;

	for (i = 0; i < hunt->nr; i++) {
		folio = page_folio(pfn_to_page(hunt->pfn[i]));
		rc = adopt_block(memory, inode, folio, start + (first + i) * EVERING_BLOCK_PAGES);
		if (rc)
			goto err_erase;
		rc = xa_err(xa_store(&memory->blocks, first + i, folio, GFP_KERNEL_ACCOUNT));
		if (rc)
			goto err_disown;
	}
	return 0;

err_disown:
	disown_block(memory, folio);
err_erase:
	while (i--) {
		folio = xa_erase(&memory->blocks, first + i);
		disown_block(memory, folio);
	}
	free_pfns(hunt->pfn, hunt->nr);
	return rc;
}

/**
 * evering_memory_add() - allocate blocks, zeroed.
 * @memory: gets them; they have been charged to its user
 * @inode: of the segment
 * @request: what, and how well it went
 *
 * The blocks can be found by evering_memory_folio() at once: the caller sees to it
 * that nobody looks before that is right.
 *
 * Context: may sleep for long; ends early with a fatal signal.
 * Return: 0, -ENOSPC (not contiguous), -ENOMEM or -EINTR; nothing is left then.
 */
int evering_memory_add(struct evering_memory *memory, struct inode *inode,
		       struct evering_request *request)
{
	struct hunt hunt = { .node = request->node, .gfp = HUNT_GFP,
			     .contiguous = request->contiguous };
	int rc;

	/* The page cache charges what it is given. */
	if (memory->shmem)
		hunt.gfp &= ~__GFP_ACCOUNT;
	if (request->node != NUMA_NO_NODE)
		hunt.gfp |= __GFP_THISNODE;
	if (request->bytes < EVERING_BLOCK_SIZE) {
		hunt.order = get_order(request->bytes);
		hunt.want = 1;
	} else {
		hunt.order = EVERING_BLOCK_ORDER;
		hunt.want = request->bytes / EVERING_BLOCK_SIZE;
	}
	/* From the hunt, and a whole run from filling gaps. */
	hunt.max = hunt_limit(&hunt) + hunt.want;
	hunt.pfn = kvmalloc_array(hunt.max, sizeof(*hunt.pfn), GFP_KERNEL_ACCOUNT);
	if (!hunt.pfn)
		return -ENOMEM;
	rc = hunt_run(&hunt, request);
	if (!rc)
		rc = adopt_all(memory, inode, &hunt, request->first);
	kvfree(hunt.pfn);
	return rc;
}

/* Takes over the reference to the user on success; else an ERR_PTR. */
struct evering_memory *evering_memory_create(struct evering_user *user, u32 backing)
{
	struct evering_memory *memory = kzalloc(sizeof(*memory), GFP_KERNEL_ACCOUNT);
	struct file *shmem = NULL;

	if (!memory)
		return ERR_PTR(-ENOMEM);
	if (backing == EVERING_BACKING_SHMEM)
		shmem = evering_shmem_create();
	if (IS_ERR(shmem)) {
		kfree(memory);
		return ERR_CAST(shmem);
	}
	memory->shmem = shmem;
	xa_init(&memory->blocks);
	INIT_LIST_HEAD(&memory->limbo);
	memory->user = user;
	return memory;
}

/* The folio that holds the byte at this file offset, or NULL. Not counted. */
struct folio *evering_memory_folio(struct evering_memory *memory, u64 offset)
{
	if (offset < EVERING_DATA_OFFSET)
		return NULL;
	return xa_load(&memory->blocks, (offset - EVERING_DATA_OFFSET) / EVERING_BLOCK_SIZE);
}

/* Frees the blocks that nobody else holds. Return: bytes that stay. */
static u64 memory_free_unpinned(struct evering_memory *memory)
{
	struct folio *folio;
	unsigned long index;
	u64 bytes, left = 0;

	xa_for_each(&memory->blocks, index, folio) {
		bytes = folio_size(folio);
		if (folio_ref_count(folio) > 1) {
			left += bytes;
			continue;
		}
		xa_erase(&memory->blocks, index);
		folio_put(folio);
		evering_uncharge(memory->user, bytes);
	}
	return left;
}

static void memory_free(struct evering_memory *memory)
{
	xa_destroy(&memory->blocks);
	evering_user_put(memory->user);
	kfree(memory);
}

/**
 * evering_memory_destroy() - the segment is gone: no file, no mapping.
 * @memory: NULL is allowed
 *
 * Context: may sleep.
 */
void evering_memory_destroy(struct evering_memory *memory)
{
	struct folio *folio;
	unsigned long index;

	if (!memory)
		return;
	xa_for_each(&memory->blocks, index, folio)
		disown_block(memory, folio);
	if (memory->shmem)
		fput(memory->shmem);
	if (!memory_free_unpinned(memory)) {
		memory_free(memory);
		return;
	}
	mutex_lock(&limbo_mutex);
	list_add(&memory->limbo, &limbo);
	mutex_unlock(&limbo_mutex);
	schedule_delayed_work(&limbo_work, LIMBO_PERIOD);
}

/* Frees what is no longer pinned. Return: bytes in limbo. */
u64 evering_limbo_sweep(void)
{
	struct evering_memory *memory, *next;
	u64 left, sum = 0;

	mutex_lock(&limbo_mutex);
	list_for_each_entry_safe(memory, next, &limbo, limbo) {
		left = memory_free_unpinned(memory);
		sum += left;
		if (left)
			continue;
		list_del(&memory->limbo);
		memory_free(memory);
	}
	mutex_unlock(&limbo_mutex);
	return sum;
}

static void limbo_tick(struct work_struct *work)
{
	if (evering_limbo_sweep())
		schedule_delayed_work(&limbo_work, LIMBO_PERIOD);
}

/* At unload nobody is left to charge: the last unpin frees the pages. */
void evering_limbo_exit(void)
{
	struct evering_memory *memory, *next;
	struct folio *folio;
	unsigned long index;

	cancel_delayed_work_sync(&limbo_work);
	list_for_each_entry_safe(memory, next, &limbo, limbo) {
		xa_for_each(&memory->blocks, index, folio)
			folio_put(folio);
		memory_free(memory);
	}
}

static bool extent_continues(const struct evering_extent *extent, u64 offset, u64 phys, int node)
{
	return extent->length && extent->offset + extent->length == offset &&
	       extent->phys + extent->length == phys && extent->node == node;
}

/**
 * evering_memory_extents() - the contiguous runs, by ascending offset.
 * @memory: a segment's
 * @end: file offset where what is visible of it ends
 * @first: index of the first wanted
 * @nr: room
 * @extents: out, with physical addresses
 *
 * Return: how many there are in all.
 */
u32 evering_memory_extents(struct evering_memory *memory, u64 end, u32 first, u32 nr,
			   struct evering_extent *extents)
{
	struct evering_extent now = {};
	struct folio *folio;
	unsigned long index;
	u32 total = 0;

	xa_for_each(&memory->blocks, index, folio) {
		u64 offset = EVERING_DATA_OFFSET + (u64)index * EVERING_BLOCK_SIZE;
		u64 phys = PFN_PHYS(folio_pfn(folio));

		if (offset >= end)
			break;
		if (!extent_continues(&now, offset, phys, folio_nid(folio))) {
			now = (struct evering_extent){ .offset = offset, .phys = phys,
						       .node = folio_nid(folio) };
			total++;
		}
		now.length += folio_size(folio);
		if (total > first && total - 1 - first < nr)
			extents[total - 1 - first] = now;
	}
	return total;
}

/* One zeroed status page of the segment, or NULL. */
struct page *evering_status_page(struct inode *inode, pgoff_t index, int node)
{
	struct page *page = alloc_pages_node(node, GFP_KERNEL_ACCOUNT, 0);

	if (page)
		adopt_folio(page_folio(page), inode, index);
	return page;
}

void evering_status_page_free(struct page *page)
{
	if (!page)
		return;
	disown_folio(page_folio(page));
	put_page(page);
}
