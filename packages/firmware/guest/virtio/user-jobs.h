/*
 * What is done with queues at CPL3, where some hosts run a guest at full speed. A job lies in the page of CPL3.
 */
#pragma once

#include "virtio/queue.h"

/* A device that has done nothing for so many TSC cycles will not do anything any more: some seconds. */
#define STUCK_CYCLES (30ul << 30)

/* Status of a block request (virtio 1.2, section 5.2.6). */
#define BLK_STATUS_OK 0

struct blk_header {
	u32 type;
	u32 reserved;
	u64 sector;
};

#define BLK_MAX_DEPTH 64
/* Header, data, status. */
#define BLK_CHAIN 3

/* `count` requests, up to `depth` of them at once, each of `bytes` at the next place or at a random one. */
struct blk_job {
	struct queue queue;
	u32 depth, bytes, type;
	bool random;
	u64 count;
	/* Places on the disk that a request can be at, each `bytes` long. */
	u64 places;
	u64 next_place, seed;
	u64 done, errors, cycles;
	bool stuck;
	struct blk_header headers[BLK_MAX_DEPTH];
	u8 status[BLK_MAX_DEPTH];
};

#define NET_HEADER_BYTES 12
#define NET_BUFFER_BYTES 2048
#define NET_RECEIVE_BUFFERS 128
#define NET_SEND_BUFFERS 64

/* Frames, all alike, are sent: `count` of them, `depth` at once; with `answers`, each waits for the ARP reply to it. */
struct net_job {
	struct queue receive, send;
	u32 depth;
	bool answers;
	u64 count;
	u64 sent, answered, cycles;
	bool stuck;
};

/* To be run by enter_user(), with the job as their argument. */
extern const u8 user_blk_job[], user_net_job[];

static inline struct blk_job *blk_job_place(void)
{
	return (struct blk_job *)USER_JOB;
}

static inline struct net_job *net_job_place(void)
{
	return (struct net_job *)USER_JOB;
}

_Static_assert(sizeof(struct blk_job) <= USER_JOB_BYTES && sizeof(struct net_job) <= USER_JOB_BYTES, "layout.h");
