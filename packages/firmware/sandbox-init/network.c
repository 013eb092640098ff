#include "network.h"

#include <linux/fcntl.h>
#include <linux/if.h>
#include <linux/in.h>
#include <linux/route.h>
#include <linux/sockios.h>

#include "job.h"
#include "line.h"
#include "system.h"

enum { INTERNET = 2, DATAGRAMS = 2, WAIT_NS = 10000000, WAITS = 300 };

static void name(struct ifreq *request, const char *interface)
{
	memset(request, 0, sizeof *request);
	memcpy(request->ifr_name, interface, length_of(interface) + 1);
}

static void put(struct sockaddr *at, unsigned address)
{
	struct sockaddr_in in;
	memset(&in, 0, sizeof in);
	in.sin_family = INTERNET;
	in.sin_addr.s_addr = address;
	memcpy(at, &in, sizeof in);
}

static long bring_up(long socket, const char *interface)
{
	struct ifreq request;
	name(&request, interface);
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	return sys3(__NR_ioctl, socket, SIOCSIFFLAGS, &request);
}

/* The driver looks for its devices while this goes on. */
static void wait_for(long socket, const char *interface)
{
	struct ifreq request;
	name(&request, interface);
	long pause[2] = {0, WAIT_NS};
	for (int i = 0; i < WAITS && sys3(__NR_ioctl, socket, SIOCGIFINDEX, &request) < 0; i++)
		sys2(__NR_nanosleep, pause, NULL);
}

static void add_default_route(long socket)
{
	struct rtentry route;
	memset(&route, 0, sizeof route);
	put(&route.rt_dst, 0);
	put(&route.rt_genmask, 0);
	put(&route.rt_gateway, job.gateway);
	route.rt_flags = RTF_UP | RTF_GATEWAY;
	long error = sys3(__NR_ioctl, socket, SIOCADDRT, &route);
	if (error < 0)
		fail("the network has no ", "gateway", error);
}

static void write_resolver(void)
{
	sys1(__NR_unlink, "/etc/resolv.conf");
	long file = sys3(__NR_open, "/etc/resolv.conf", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (file < 0)
		return;
	sys3(__NR_write, file, job.resolver, length_of(job.resolver));
	sys1(__NR_close, file);
}

void set_up_network(void)
{
	long socket = sys3(__NR_socket, INTERNET, DATAGRAMS, 0);
	if (socket < 0)
		return;
	bring_up(socket, "lo");
	if (job.address != 0) {
		struct ifreq request;
		wait_for(socket, "eth0");
		name(&request, "eth0");
		put(&request.ifr_addr, job.address);
		long error = sys3(__NR_ioctl, socket, SIOCSIFADDR, &request);
		put(&request.ifr_netmask, job.netmask);
		if (error >= 0)
			error = sys3(__NR_ioctl, socket, SIOCSIFNETMASK, &request);
		if (error >= 0)
			error = bring_up(socket, "eth0");
		if (error < 0)
			fail("cannot set up ", "eth0", error);
		if (job.gateway != 0)
			add_default_route(socket);
		if (job.resolver != NULL)
			write_resolver();
	}
	sys1(__NR_close, socket);
}
