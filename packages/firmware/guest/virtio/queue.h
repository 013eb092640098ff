/*
 * A split virtqueue from the driver's side (virtio 1.2, section 2.7), used at CPL3: some hosts run only that at full speed.
 * Completions are polled for; the device is told that nobody waits for its interrupt.
 *
 * All functions are inline: code that runs at CPL3 can call nothing outside its page.
 */
#pragma once

#include "layout.h"
#include "types.h"

#define QUEUE_MAX_ENTRIES 256

enum descriptor_flag { DESCRIPTOR_NEXT = 1, DESCRIPTOR_WRITE = 2 };

struct descriptor {
	u64 address;
	u32 length;
	u16 flags;
	u16 next;
};

struct used_element {
	u32 id;
	u32 length;
};

/* The rings, one behind the other; an event index follows each ring of QUEUE_MAX_ENTRIES or less. */
struct rings {
	struct descriptor descriptors[QUEUE_MAX_ENTRIES];
	struct {
		u16 flags, idx;
		u16 ring[QUEUE_MAX_ENTRIES + 1];
	} available;
	struct {
		u16 flags, idx;
		struct used_element ring[QUEUE_MAX_ENTRIES];
		u16 event;
	} used __attribute__((aligned(4)));
};

struct queue {
	volatile struct rings *rings;
	/* The QueueNotify register. */
	volatile u32 *notify;
	u32 index;
	u32 entries;
	bool event_idx;
	/* Entries made available, and how many of them the device has been told of; used entries that were taken. */
	u16 offered, announced, taken;
	/* How often it was told. */
	u64 kicks;
};

static inline __attribute__((always_inline)) void full_barrier(void)
{
	asm volatile("lock; orl $0, (%%rsp)" : : : "memory", "cc");
}

static inline __attribute__((always_inline)) void compiler_barrier(void)
{
	asm volatile("" : : : "memory");
}

/* Makes the chain that begins with descriptor `head` available; the device is told by queue_announce(). */
static inline __attribute__((always_inline)) void queue_offer(struct queue *queue, u16 head)
{
	queue->rings->available.ring[queue->offered & (queue->entries - 1)] = head;
	queue->offered++;
	compiler_barrier();
	queue->rings->available.idx = queue->offered;
}

/* Where the device asks to be told of (section 2.7.10), which lies behind a used ring of this queue's length. */
static inline __attribute__((always_inline)) u16 queue_available_event(const struct queue *queue)
{
	return *(volatile u16 *)&queue->rings->used.ring[queue->entries];
}

/* Notifies the device of what was offered, if it wants to know. */
static inline __attribute__((always_inline)) void queue_announce(struct queue *queue)
{
	u16 from = queue->announced, to = queue->offered;
	bool wanted;

	if (from == to)
		return;
	queue->announced = to;
	full_barrier();
	if (queue->event_idx)
		wanted = (u16)(to - queue_available_event(queue) - 1) < (u16)(to - from);
	else
		wanted = !(queue->rings->used.flags & 1);
	if (!wanted)
		return;
	*queue->notify = queue->index;
	queue->kicks++;
}

/* An event index that the device does not come past before it is next moved: as far ahead as an index can be. */
#define FAR_AHEAD 0x8000

/* How many used entries there are to take; asks for no interrupt while it looks. */
static inline __attribute__((always_inline)) u16 queue_pending(struct queue *queue)
{
	queue->rings->available.ring[queue->entries] = queue->taken + FAR_AHEAD;
	compiler_barrier();
	return queue->rings->used.idx - queue->taken;
}

/* The next used entry: there has to be one. */
static inline __attribute__((always_inline)) struct used_element queue_take(struct queue *queue)
{
	const volatile struct used_element *at = &queue->rings->used.ring[queue->taken & (queue->entries - 1)];

	queue->taken++;
	return (struct used_element){ .id = at->id, .length = at->length };
}

static inline __attribute__((always_inline)) void queue_describe(struct queue *queue, u16 at, u64 address, u32 length,
								  u16 flags)
{
	volatile struct descriptor *descriptor = &queue->rings->descriptors[at];

	descriptor->address = address;
	descriptor->length = length;
	descriptor->flags = flags;
	descriptor->next = at + 1;
}
