// Ends with a known number of resident pages, or waits until its standard input ends. Says what statm shows of it where it has the most and right before its end,
// after which it touches no page.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static char statm[256];
static char said[256];
static int statm_file;
static char *memory;
static long pages;
static int cpus[2];

static long resident(void)
{
	ssize_t length = pread(statm_file, statm, sizeof(statm) - 1, 0);
	if (length <= 0)
		_exit(3);
	statm[length] = 0;
	return strtol(strchr(statm, ' '), NULL, 10);
}

static char *map(long count)
{
	char *start = mmap(NULL, count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (start == MAP_FAILED)
		_exit(4);
	madvise(start, count * 4096, MADV_NOHUGEPAGE);
	return start;
}

static void touch(long first, long end)
{
	for (long page = first; page < end; page++)
		memory[page * 4096] = 1;
}

static void stay_on(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *touch_half(void *half)
{
	long which = (long)half;
	stay_on(cpus[which]);
	touch(which * pages / 2, (which + 1) * pages / 2);
	return NULL;
}

// ending keep|free|threads|wait PAGES
int main(int count, char **arguments)
{
	if (count != 3 || (statm_file = open("/proc/self/statm", O_RDONLY)) < 0)
		return 2;
	const char *how = arguments[1];
	pages = atol(arguments[2]);
	cpu_set_t allowed;
	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int cpu = 0, found = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
		if (CPU_ISSET(cpu, &allowed)) {
			cpus[1] = cpu;
			if (!found++)
				cpus[0] = cpu;
		}
	memory = map(pages);
	// Once, so that all that it takes is resident.
	resident();
	snprintf(said, sizeof(said), "%ld %ld\n", 0L, 0L);
	syscall(SYS_write, STDOUT_FILENO, said, 0);
	int waits = !strcmp(how, "wait");
	if (waits || !strcmp(how, "threads")) {
		pthread_t threads[2];
		for (long half = 0; half < 2; half++)
			pthread_create(&threads[half], NULL, touch_half, (void *)half);
		for (int half = 0; half < 2; half++)
			pthread_join(threads[half], NULL);
	} else {
		touch(0, pages);
	}
	long most = resident();
	if (!strcmp(how, "free"))
		munmap(memory, pages * 4096);
	long last = resident();
	int length = snprintf(said, sizeof(said), "%ld %ld\n", most, last);
	syscall(SYS_write, STDOUT_FILENO, said, length);
	if (waits)
		syscall(SYS_read, STDIN_FILENO, said, 1);
	syscall(SYS_exit_group, 0);
}
