// Forks as many children as it is told, says so, and waits until its standard input ends. A process of it has a few pages,
// so that tens of thousands fit into a machine.
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int arguments, char **argument)
{
	int children = arguments > 1 ? atoi(argument[1]) : 0;
	char byte;
	setpgid(0, 0);
	for (int child = 0; child < children; child++) {
		pid_t pid = fork();
		if (pid < 0)
			return 1;
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}
	if (write(1, "\n", 1) != 1)
		return 2;
	while (read(0, &byte, 1) > 0)
		;
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	while (wait(0) > 0)
		;
	return 0;
}
