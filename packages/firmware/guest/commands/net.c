/*
 * `net`: small frames to the first virtio network device, and how long they take by the TSC. The answer is one line of
 * NAME=VALUE.
 *
 *   status  whether the link is up
 *   send    frames to nobody
 *   echo    ARP requests (RFC 826) for an address on the other side, each of which is answered by one frame
 */
#include "boot/boot-info.h"
#include "commands/commands.h"
#include "console/print.h"
#include "console/text.h"
#include "cpu/exceptions.h"
#include "cpu/user-mode.h"
#include "virtio/user-jobs.h"
#include "virtio/virtio-mmio.h"

enum { RECEIVE_QUEUE = 0, SEND_QUEUE = 1 };
#define MAC_OFFSET 0
#define STATUS_OFFSET 6
#define LINK_UP 1

#define MAC_BYTES 6
#define ARP_BYTES 42
#define MAX_FRAME_BYTES 1514

/* The guest's own address, and the one it asks for when no other is given. */
static const u8 own_address[4] = { 10, 99, 0, 2 };
static const u8 asked_address[4] = { 10, 99, 0, 1 };

static u8 *send_buffer(u32 slot)
{
	return (u8 *)(USER_BUFFERS + (u64)(NET_RECEIVE_BUFFERS + slot) * NET_BUFFER_BYTES);
}

static void copy(u8 *to, const u8 *from, u32 bytes)
{
	while (bytes--)
		*to++ = *from++;
}

/* An Ethernet frame behind an empty virtio-net header: an ARP request, or one of a type for experiments to nobody. */
static void write_frame(u8 *at, const u8 *mac, bool is_request)
{
	static const u8 arp_head[] = { 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1 };
	u8 *frame = at + NET_HEADER_BYTES;

	for (u32 i = 0; i < NET_HEADER_BYTES; i++)
		at[i] = 0;
	for (u32 i = 0; i < MAC_BYTES; i++)
		frame[i] = is_request ? 0xff : 0x02;
	copy(frame + 6, mac, MAC_BYTES);
	if (!is_request) {
		frame[12] = 0x88;
		frame[13] = 0xb5;
		return;
	}
	copy(frame + 12, arp_head, sizeof arp_head);
	copy(frame + 22, mac, MAC_BYTES);
	copy(frame + 28, own_address, sizeof own_address);
	for (u32 i = 0; i < MAC_BYTES; i++)
		frame[32 + i] = 0;
	copy(frame + 38, asked_address, sizeof asked_address);
}

static void prepare(struct net_job *job, const u8 *mac, u32 bytes)
{
	for (u32 i = 0; i < NET_RECEIVE_BUFFERS && i < job->receive.entries; i++) {
		queue_describe(&job->receive, i, USER_BUFFERS + (u64)i * NET_BUFFER_BYTES, NET_BUFFER_BYTES,
			       DESCRIPTOR_WRITE);
		queue_offer(&job->receive, i);
	}
	write_frame(send_buffer(0), mac, job->answers);
	for (u32 i = 0; i < NET_SEND_BUFFERS; i++)
		queue_describe(&job->send, i, (u64)send_buffer(0), NET_HEADER_BYTES + bytes, 0);
}

static void status(void)
{
	struct virtio_device device;

	if (!virtio_find(VIRTIO_NET, &device)) {
		print("net: no network device here\n");
		return;
	}
	print("net: link=%s\n", virtio_config_read16(&device, STATUS_OFFSET) & LINK_UP ? "up" : "down");
}

static void run(bool answers, u32 bytes, u32 depth, u64 count)
{
	struct net_job *job = net_job_place();
	struct virtio_device device;
	u8 mac[MAC_BYTES];
	u64 vector;
	bool up;

	*job = (struct net_job){ .depth = depth, .answers = answers, .count = count };
	if (!virtio_find(VIRTIO_NET, &device)) {
		print("net: no network device here\n");
		return;
	}
	for (u32 i = 0; i < MAC_BYTES; i++)
		mac[i] = virtio_config_read8(&device, MAC_OFFSET + i);
	if (!virtio_negotiate(&device, 1ul << VIRTIO_NET_F_MAC | 1ul << VIRTIO_NET_F_STATUS | 1ul << VIRTIO_F_EVENT_IDX) ||
	    !virtio_open_queue(&device, &job->receive, RECEIVE_QUEUE, QUEUE_MAX_ENTRIES) ||
	    !virtio_open_queue(&device, &job->send, SEND_QUEUE, QUEUE_MAX_ENTRIES) ||
	    job->send.entries < NET_SEND_BUFFERS) {
		print("net: the device does not take this driver\n");
		return;
	}
	prepare(job, mac, bytes);
	virtio_driver_ok(&device);
	vector = enter_user(user_net_job, (u64)job);
	up = virtio_config_read16(&device, STATUS_OFFSET) & LINK_UP;
	if (vector != INVALID_OPCODE)
		print("net: ended by exception %lu\n", vector);
	else
		print("net: kind=%s bytes=%u depth=%u sent=%lu answered=%lu kicks=%lu cycles=%lu link=%s%s\n",
		      answers ? "echo" : "send", bytes, depth, job->sent, job->answered, job->send.kicks, job->cycles,
		      up ? "up" : "down",
		      virtio_needs_reset(&device) ? " needs-reset" :
		      job->stuck		  ? " stuck" :
						    "");
	virtio_reset(&device);
}

void command_net(char *arguments)
{
	char *kind = text_next_word(&arguments);
	bool answers = text_equal(kind, "echo");
	u64 bytes = ARP_BYTES, depth = 0, count = 0;
	bool valid = answers || text_equal(kind, "send");

	if (text_equal(kind, "status")) {
		status();
		return;
	}
	if (valid && !answers)
		valid = text_number(text_next_word(&arguments), &bytes) && bytes >= ARP_BYTES && bytes <= MAX_FRAME_BYTES;
	valid = valid && text_number(text_next_word(&arguments), &depth) && depth >= 1 && depth <= NET_SEND_BUFFERS;
	valid = valid && text_number(text_next_word(&arguments), &count) && count;
	if (!valid)
		print("usage: net status, net send BYTES DEPTH COUNT, net echo DEPTH COUNT; DEPTH up to %u\n",
		      NET_SEND_BUFFERS);
	else
		run(answers, bytes, depth, count);
}
