/*
 * A driver's side of virtio over MMIO (virtio 1.2, sections 3.1.1 and 4.2): finding a device and setting it up.
 */
#pragma once

#include "virtio/queue.h"

enum virtio_device_id { VIRTIO_NET = 1, VIRTIO_BLK = 2 };

/* Feature bits (sections 6, 5.1.3 and 5.2.3). */
#define VIRTIO_BLK_F_RO 5
#define VIRTIO_BLK_F_FLUSH 9
#define VIRTIO_NET_F_MAC 5
#define VIRTIO_NET_F_STATUS 16
#define VIRTIO_F_EVENT_IDX 29
#define VIRTIO_F_VERSION_1 32

struct virtio_device {
	u64 base;
	/* What the device offers and the driver has taken. */
	u64 features;
};

/* The first device of this kind in the windows of our machine or of QEMU's microvm, after a reset. */
bool virtio_find(enum virtio_device_id id, struct virtio_device *device);

/* Takes those of `wanted` that are offered, and VERSION_1. False when the device does not go along. */
bool virtio_negotiate(struct virtio_device *device, u64 wanted);

/* Puts queue `index` into `queue`, of `most_entries` or what the device has, for CPL3 to use. False when there is none. */
bool virtio_open_queue(struct virtio_device *device, struct queue *queue, u32 index, u32 most_entries);

void virtio_driver_ok(struct virtio_device *device);

/* The device forgets its queues; memory is the guest's alone again. */
void virtio_reset(struct virtio_device *device);

u32 virtio_config_read8(const struct virtio_device *device, u32 offset);
u32 virtio_config_read16(const struct virtio_device *device, u32 offset);
u64 virtio_config_read64(const struct virtio_device *device, u32 offset);

/* The device says that the driver has made a mistake. */
bool virtio_needs_reset(const struct virtio_device *device);
