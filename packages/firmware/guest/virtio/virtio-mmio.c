/*
 * A driver's side of virtio over MMIO (virtio 1.2, sections 3.1.1 and 4.2).
 */
#include "virtio/virtio-mmio.h"

#include "cpu/instructions.h"
#include "cpu/user-mode.h"

/* Register offsets (section 4.2.2). */
enum {
	MAGIC_VALUE = 0x000,
	VERSION = 0x004,
	DEVICE_ID = 0x008,
	DEVICE_FEATURES = 0x010,
	DEVICE_FEATURES_SEL = 0x014,
	DRIVER_FEATURES = 0x020,
	DRIVER_FEATURES_SEL = 0x024,
	QUEUE_SEL = 0x030,
	QUEUE_SIZE_MAX = 0x034,
	QUEUE_SIZE = 0x038,
	QUEUE_READY = 0x044,
	QUEUE_NOTIFY = 0x050,
	STATUS = 0x070,
	QUEUE_DESC = 0x080,
	QUEUE_DRIVER = 0x090,
	QUEUE_DEVICE = 0x0a0,
	CONFIG = 0x100,
};

#define MAGIC 0x74726976
#define MODERN 2

/* Device status (section 2.1). */
enum {
	ACKNOWLEDGE = 1,
	DRIVER = 2,
	DRIVER_OK = 4,
	FEATURES_OK = 8,
	NEEDS_RESET = 64,
};

/* Where machines have their windows: ours, and QEMU's microvm. */
static const struct {
	u64 base;
	u32 stride, count;
} windows[] = {
	{ 0xfe800000, 0x1000, 32 },
	{ 0xfeb00000, 0x200, 24 },
};

/* The rings of queue `index`, in the page of CPL3. */
static struct rings *rings_of(u32 index)
{
	return (struct rings *)(USER_RINGS + (u64)index * USER_RINGS_BYTES);
}

_Static_assert(sizeof(struct rings) <= USER_RINGS_BYTES, "layout.h");

static bool is_device(u64 base, enum virtio_device_id id)
{
	return mmio_read(base + VERSION) == MODERN && mmio_read(base + DEVICE_ID) == id;
}

bool virtio_find(enum virtio_device_id id, struct virtio_device *device)
{
	for (u32 place = 0; place < sizeof windows / sizeof *windows; place++) {
		for (u32 i = 0; i < windows[place].count; i++) {
			u64 base = windows[place].base + i * windows[place].stride;

			if (mmio_read(base + MAGIC_VALUE) != MAGIC)
				break;
			if (!is_device(base, id))
				continue;
			*device = (struct virtio_device){ .base = base };
			virtio_reset(device);
			return true;
		}
	}
	return false;
}

static void set_status(const struct virtio_device *device, u32 bits)
{
	mmio_write(device->base + STATUS, bits);
}

bool virtio_negotiate(struct virtio_device *device, u64 wanted)
{
	set_status(device, ACKNOWLEDGE);
	set_status(device, ACKNOWLEDGE | DRIVER);
	wanted |= 1ul << VIRTIO_F_VERSION_1;
	device->features = 0;
	for (u32 word = 0; word < 2; word++) {
		u32 taken;

		mmio_write(device->base + DEVICE_FEATURES_SEL, word);
		taken = mmio_read(device->base + DEVICE_FEATURES) & (u32)(wanted >> 32 * word);
		mmio_write(device->base + DRIVER_FEATURES_SEL, word);
		mmio_write(device->base + DRIVER_FEATURES, taken);
		device->features |= (u64)taken << 32 * word;
	}
	set_status(device, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	return mmio_read(device->base + STATUS) & FEATURES_OK;
}

static void set_address(const struct virtio_device *device, u32 offset, volatile void *address)
{
	mmio_write(device->base + offset, (u64)address);
	mmio_write(device->base + offset + 4, (u64)address >> 32);
}

bool virtio_open_queue(struct virtio_device *device, struct queue *queue, u32 index, u32 most_entries)
{
	struct rings *rings = rings_of(index);
	u32 entries;

	mmio_write(device->base + QUEUE_SEL, index);
	entries = mmio_read(device->base + QUEUE_SIZE_MAX);
	if (entries > most_entries)
		entries = most_entries;
	if (!entries)
		return false;
	rings->available.flags = 0;
	rings->available.idx = 0;
	rings->used.flags = 0;
	rings->used.idx = 0;
	*(u16 *)&rings->used.ring[entries] = 0;
	mmio_write(device->base + QUEUE_SIZE, entries);
	set_address(device, QUEUE_DESC, rings->descriptors);
	set_address(device, QUEUE_DRIVER, &rings->available);
	set_address(device, QUEUE_DEVICE, &rings->used);
	mmio_write(device->base + QUEUE_READY, 1);
	*queue = (struct queue){
		.rings = rings,
		.notify = (volatile u32 *)(device->base + QUEUE_NOTIFY),
		.index = index,
		.entries = entries,
		.event_idx = device->features >> VIRTIO_F_EVENT_IDX & 1,
	};
	if (!queue->event_idx)
		rings->available.flags = 1;
	user_allow(device->base);
	return true;
}

void virtio_driver_ok(struct virtio_device *device)
{
	set_status(device, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

void virtio_reset(struct virtio_device *device)
{
	set_status(device, 0);
	while (mmio_read(device->base + STATUS))
		relax();
}

bool virtio_needs_reset(const struct virtio_device *device)
{
	return mmio_read(device->base + STATUS) & NEEDS_RESET;
}

u32 virtio_config_read8(const struct virtio_device *device, u32 offset)
{
	return *(volatile u8 *)(device->base + CONFIG + offset);
}

u32 virtio_config_read16(const struct virtio_device *device, u32 offset)
{
	return *(volatile u16 *)(device->base + CONFIG + offset);
}

u64 virtio_config_read64(const struct virtio_device *device, u32 offset)
{
	u32 low = mmio_read(device->base + CONFIG + offset);

	return low | (u64)mmio_read(device->base + CONFIG + offset + 4) << 32;
}
