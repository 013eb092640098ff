#pragma once

/* Runs the job's command, passes its bytes on in both directions, and ends the machine with its status. */
_Noreturn void run_command(void);
