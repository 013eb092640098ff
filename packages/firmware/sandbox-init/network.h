#pragma once

/* Brings the loopback up, and with an address in the job the interface beside it. */
void set_up_network(void);
