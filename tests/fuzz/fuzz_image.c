/* SPDX-License-Identifier: MIT */
/*
 * A segment whose bytes are the fuzzer's: it is adopted, attached to, and toured. The
 * image is a true one with the input's words over it, anywhere: in the header and the
 * peers' entries, in the directory, in objects.
 *
 * input      {word:32 | nr:8 | nr words of 64 bits} ..., a word counts through
 *            the status area's first pages, then the shared region
 */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tour.h"
#include "world.h"

#define STATUS_SZ (64U << 10)
#define RESERVE_SZ (32U << 20)

static struct image {
	struct evr_segment *segment;
	int fd;
	unsigned char *file; /* mapped */
	uint64_t sz, shared_off;
	unsigned char before[STATUS_SZ + WORLD_SHARED_SZ];
} image;

static void image_make(void)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = WORLD_SHARED_SZ,
					       .peers_max = WORLD_PEERS };
	struct evr_segment_info info;
	struct evr_peer *peer;
	struct stat st;

	FUZZ_CHECK(!evr_segment_create(&image.segment, "local:", &options));
	FUZZ_CHECK(!evr_peer_attach(&peer, image.segment, NULL));
	FUZZ_CHECK(!world_make(peer));
	FUZZ_CHECK(!evr_segment_info(image.segment, &info));
	evr_peer_detach(peer);
	image.fd = evr_segment_fd(image.segment);
	image.shared_off = info.shared_off;
	FUZZ_CHECK(!fstat(image.fd, &st));
	image.sz = (uint64_t)st.st_size;
	image.file = mmap(NULL, image.sz, PROT_READ | PROT_WRITE, MAP_SHARED, image.fd, 0);
	FUZZ_CHECK(image.file != MAP_FAILED);
	memcpy(image.before, image.file, STATUS_SZ);
	memcpy(image.before + STATUS_SZ, image.file + image.shared_off, WORLD_SHARED_SZ);
}

/* As it was, in all its length, whatever the last input has made of it. */
static void image_reset(void)
{
	uint64_t end = image.shared_off + WORLD_SHARED_SZ;

	FUZZ_CHECK(!ftruncate(image.fd, (off_t)image.sz));
	FUZZ_CHECK(!fallocate(image.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, STATUS_SZ,
			      (off_t)(image.shared_off - STATUS_SZ)));
	FUZZ_CHECK(!fallocate(image.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)end,
			      (off_t)(image.sz - end + 4096)));
	memcpy(image.file, image.before, STATUS_SZ);
	memcpy(image.file + image.shared_off, image.before + STATUS_SZ, WORLD_SHARED_SZ);
}

static void image_write(struct fuzz_input *in)
{
	uint64_t off, nr, value;

	while (in->left > 5) {
		off = fuzz_take(in, 4) % (sizeof(image.before) / 8) * 8;
		for (nr = fuzz_take(in, 1); nr && in->left && off < sizeof(image.before); nr--) {
			value = fuzz_take(in, 8);
			memcpy(off < STATUS_SZ ? image.file + off :
						 image.file + image.shared_off + off - STATUS_SZ,
			       &value, 8);
			off += 8;
		}
	}
}

static void image_tour(uint64_t seed)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options), .reserve_sz = RESERVE_SZ };
	struct evr_segment *segment;
	struct tour tour = { .seed = seed };
	char path[32];
	int fd;

	/* A description of its own: locks of one would not be seen by the other. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", image.fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	FUZZ_CHECK(fd >= 0);
	if (evr_segment_adopt(&segment, fd)) {
		close(fd);
		return;
	}
	if (!evr_peer_attach(&tour.peer, segment, &options)) {
		if (!evr_waiter_init(&tour.waiter, tour.peer, EVR_WAIT_SLEEP)) {
			tour_all(&tour);
			evr_waiter_fini(&tour.waiter);
		}
		evr_peer_detach(tour.peer);
	}
	evr_segment_close(segment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	struct fuzz_input in = { data, sz };
	uint64_t seed;

	if (!image.file)
		image_make();
	image_reset();
	seed = fuzz_take(&in, 1) + 1;
	image_write(&in);
	image_tour(seed);
	return 0;
}
