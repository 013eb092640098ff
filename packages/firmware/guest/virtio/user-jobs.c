/*
 * Jobs at CPL3. The functions lie in the page of CPL3 and call nothing outside it.
 */
#include "virtio/user-jobs.h"

#include "cpu/instructions.h"

#define USER __attribute__((section(".user"), used, noinline))
#define USER_PART static inline __attribute__((always_inline))

void user_blk_run(struct blk_job *job);
void user_net_run(struct net_job *job);

/* A xorshift generator (Marsaglia, 2003). */
USER_PART u64 next_random(u64 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

USER_PART u64 next_place(struct blk_job *job)
{
	u64 place = job->next_place;

	if (job->random)
		return next_random(&job->seed) % job->places;
	job->next_place = place + 1 < job->places ? place + 1 : 0;
	return place;
}

USER_PART void offer_request(struct blk_job *job, u32 slot)
{
	job->headers[slot].sector = next_place(job) * (job->bytes / 512);
	queue_offer(&job->queue, slot * BLK_CHAIN);
}

USER void user_blk_run(struct blk_job *job)
{
	u64 offered = 0, start = read_tsc(), progress = start;

	for (; offered < job->depth && offered < job->count; offered++)
		offer_request(job, offered);
	queue_announce(&job->queue);
	while (job->done < job->count) {
		u16 pending = queue_pending(&job->queue);

		if (!pending) {
			if (read_tsc() - progress > STUCK_CYCLES) {
				job->stuck = true;
				break;
			}
			relax();
			continue;
		}
		progress = read_tsc();
		for (; pending; pending--) {
			u32 slot = queue_take(&job->queue).id / BLK_CHAIN;

			job->errors += ((volatile u8 *)job->status)[slot] != BLK_STATUS_OK;
			job->done++;
			if (offered < job->count) {
				offer_request(job, slot);
				offered++;
			}
		}
		queue_announce(&job->queue);
	}
	job->cycles = read_tsc() - start;
}

/* An ARP reply (RFC 826): operation 2, behind 12 bytes of virtio-net header and 14 of Ethernet's. */
USER_PART bool is_answer(const volatile u8 *frame, u32 length)
{
	return length >= NET_HEADER_BYTES + 42 && frame[NET_HEADER_BYTES + 12] == 0x08 &&
	       frame[NET_HEADER_BYTES + 13] == 0x06 && frame[NET_HEADER_BYTES + 21] == 2;
}

USER_PART u32 take_answers(struct net_job *job)
{
	u32 answers = 0;

	for (u16 pending = queue_pending(&job->receive); pending; pending--) {
		struct used_element used = queue_take(&job->receive);

		answers += is_answer((const u8 *)(USER_BUFFERS + (u64)used.id * NET_BUFFER_BYTES), used.length);
		queue_offer(&job->receive, used.id);
	}
	queue_announce(&job->receive);
	return answers;
}

USER void user_net_run(struct net_job *job)
{
	u64 start = read_tsc(), progress = start, offered = 0;

	while ((job->answers ? job->answered : job->sent) < job->count) {
		u16 returned = queue_pending(&job->send);
		u32 answers = job->answers ? take_answers(job) : 0;

		for (u16 i = 0; i < returned; i++)
			queue_take(&job->send);
		job->sent += returned;
		job->answered += answers;
		if (returned || answers)
			progress = read_tsc();
		while (offered < job->count && offered - job->sent < NET_SEND_BUFFERS &&
		       offered - (job->answers ? job->answered : job->sent) < job->depth) {
			queue_offer(&job->send, offered % NET_SEND_BUFFERS);
			offered++;
		}
		queue_announce(&job->send);
		if (read_tsc() - progress > STUCK_CYCLES) {
			job->stuck = true;
			break;
		}
		relax();
	}
	job->cycles = read_tsc() - start;
}
