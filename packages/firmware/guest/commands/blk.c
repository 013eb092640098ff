/*
 * `blk`: requests to the first virtio block device, so many at once, and how long they take by the TSC. The answer is one
 * line of NAME=VALUE.
 */
#include "boot/boot-info.h"
#include "commands/commands.h"
#include "console/print.h"
#include "console/text.h"
#include "cpu/exceptions.h"
#include "cpu/user-mode.h"
#include "virtio/user-jobs.h"
#include "virtio/virtio-mmio.h"

/* Request types (virtio 1.2, section 5.2.6). */
enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4 };

#define SECTOR_BYTES 512
#define CAPACITY_OFFSET 0

static const struct kind {
	const char *name;
	u32 type;
	bool random;
} kinds[] = {
	{ "read", BLK_IN, false },
	{ "randread", BLK_IN, true },
	{ "write", BLK_OUT, false },
	{ "randwrite", BLK_OUT, true },
	{ "flush", BLK_FLUSH, false },
};

static const struct kind *find_kind(const char *name)
{
	for (u32 i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (text_equal(name, kinds[i].name))
			return &kinds[i];
	return NULL;
}

/* Three descriptors a request, which stay as they are: only the sector in the header changes. */
static void prepare(struct blk_job *job)
{
	u16 data_flags = job->type == BLK_IN ? DESCRIPTOR_NEXT | DESCRIPTOR_WRITE : DESCRIPTOR_NEXT;

	for (u32 slot = 0; slot < job->depth; slot++) {
		u32 at = slot * BLK_CHAIN;

		job->headers[slot] = (struct blk_header){ .type = job->type };
		queue_describe(&job->queue, at, (u64)&job->headers[slot], sizeof(struct blk_header), DESCRIPTOR_NEXT);
		queue_describe(&job->queue, at + 1, DMA_BUFFERS + (u64)slot * job->bytes,
			       job->type == BLK_FLUSH ? 0 : job->bytes, data_flags);
		queue_describe(&job->queue, at + 2, (u64)&job->status[slot], 1, DESCRIPTOR_WRITE);
		/* A buffer of no bytes is none. */
		if (job->type == BLK_FLUSH)
			job->queue.rings->descriptors[at].next = at + 2;
	}
}

static void run(const struct kind *kind, u32 bytes, u32 depth, u64 count)
{
	struct blk_job *job = blk_job_place();
	struct virtio_device device;
	u64 vector;

	*job = (struct blk_job){ .depth = depth, .bytes = bytes, .type = kind->type, .random = kind->random };
	job->count = count;
	job->seed = 88172645463325252ul;
	if (!virtio_find(VIRTIO_BLK, &device)) {
		print("blk: no block device here\n");
		return;
	}
	job->places = virtio_config_read64(&device, CAPACITY_OFFSET) / (bytes / SECTOR_BYTES);
	if (!job->places) {
		print("blk: the disk is smaller than %u bytes\n", bytes);
		return;
	}
	if (!virtio_negotiate(&device, 1ul << VIRTIO_BLK_F_FLUSH | 1ul << VIRTIO_F_EVENT_IDX) ||
	    !virtio_open_queue(&device, &job->queue, 0, QUEUE_MAX_ENTRIES) ||
	    job->queue.entries < depth * BLK_CHAIN) {
		print("blk: the device does not take this driver\n");
		return;
	}
	prepare(job);
	virtio_driver_ok(&device);
	vector = enter_user(user_blk_job, (u64)job);
	if (vector != INVALID_OPCODE)
		print("blk: ended by exception %lu\n", vector);
	else
		print("blk: kind=%s bytes=%u depth=%u requests=%lu errors=%lu kicks=%lu cycles=%lu%s\n", kind->name,
		      bytes, depth, job->done, job->errors, job->queue.kicks, job->cycles,
		      virtio_needs_reset(&device) ? " needs-reset" :
		      job->stuck		  ? " stuck" :
						    "");
	virtio_reset(&device);
}

void command_blk(char *arguments)
{
	const struct kind *kind = find_kind(text_next_word(&arguments));
	u64 bytes = 0, depth = 0, count = 0;
	bool valid = kind != NULL;

	valid &= text_number(text_next_word(&arguments), &bytes) && bytes && bytes % SECTOR_BYTES == 0;
	valid &= text_number(text_next_word(&arguments), &depth) && depth >= 1 && depth <= BLK_MAX_DEPTH;
	valid &= text_number(text_next_word(&arguments), &count) && count;
	if (!valid || bytes * depth > DMA_BUFFERS_BYTES) {
		print("usage: blk KIND BYTES DEPTH COUNT, KIND one of");
		for (u32 i = 0; i < sizeof kinds / sizeof *kinds; i++)
			print(" %s", kinds[i].name);
		print(", DEPTH up to %u, BYTES * DEPTH up to %u\n", BLK_MAX_DEPTH, DMA_BUFFERS_BYTES);
		return;
	}
	if (boot_info.usable_bytes < DMA_BUFFERS + DMA_BUFFERS_BYTES) {
		print("blk: needs a machine of 16 MiB\n");
		return;
	}
	run(kind, bytes, depth, count);
}
