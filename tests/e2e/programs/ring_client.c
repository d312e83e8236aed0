// An HTTP client whose socket has no descriptor number: a registered file of an io_uring.
//
//   ring_client ADDRESS PORT         the ring itself has a number
//   ring_client ADDRESS PORT hidden  neither has the ring; the socket is in flight in a UNIX socket as well
//
// Prints what the server says. 2: this kernel has no io_uring, or does not allow it.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IORING_REGISTER_RING_FDS
#define IORING_REGISTER_RING_FDS 20
#endif
#ifndef IORING_ENTER_REGISTERED_RING
#define IORING_ENTER_REGISTERED_RING (1U << 4)
#endif

static struct io_uring_params parameters;
static char *rings;
static struct io_uring_sqe *entries;
static int ring;
static unsigned enter_flags = IORING_ENTER_GETEVENTS;

static void must(int good, const char *what) {
  if (good) return;
  perror(what);
  exit(1);
}

static unsigned *at(unsigned offset) { return (unsigned *)(rings + offset); }

// One operation on registered file 0, waited for; its result.
static int perform(unsigned char operation, const void *address, unsigned length, unsigned long offset) {
  const unsigned tail = *at(parameters.sq_off.tail), slot = tail & *at(parameters.sq_off.ring_mask);
  struct io_uring_sqe *entry = &entries[slot];
  memset(entry, 0, sizeof *entry);
  entry->opcode = operation;
  entry->flags = IOSQE_FIXED_FILE;
  entry->addr = (unsigned long)address;
  entry->len = length;
  entry->off = offset;
  at(parameters.sq_off.array)[slot] = slot;
  __atomic_store_n(at(parameters.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
  must(syscall(SYS_io_uring_enter, ring, 1, 1, enter_flags, NULL, 0) == 1, "io_uring_enter");
  const unsigned head = *at(parameters.cq_off.head);
  must(__atomic_load_n(at(parameters.cq_off.tail), __ATOMIC_ACQUIRE) != head, "no completion");
  const struct io_uring_cqe *done = (struct io_uring_cqe *)(rings + parameters.cq_off.cqes);
  const int result = done[head & *at(parameters.cq_off.ring_mask)].res;
  __atomic_store_n(at(parameters.cq_off.head), head + 1, __ATOMIC_RELEASE);
  return result;
}

static void set_up(void) {
  ring = (int)syscall(SYS_io_uring_setup, 4, &parameters);
  if (ring < 0) exit(2);
  const size_t of_sq = parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned);
  const size_t of_cq = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
  must(parameters.features & IORING_FEAT_SINGLE_MMAP, "IORING_FEAT_SINGLE_MMAP");
  rings = mmap(NULL, of_sq > of_cq ? of_sq : of_cq, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
  must(rings != MAP_FAILED, "mmap");
  entries = mmap(NULL, parameters.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                 IORING_OFF_SQES);
  must(entries != MAP_FAILED, "mmap");
}

static void send_away(int descriptor) {
  int ends[2];
  must(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0, "socketpair");
  char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  must(sendmsg(ends[0], &message, 0) == 1, "sendmsg");
}

static void hide_ring(void) {
  struct io_uring_rsrc_update update = {.offset = -1U, .data = (unsigned long)ring};
  must(syscall(SYS_io_uring_register, ring, IORING_REGISTER_RING_FDS, &update, 1) == 1, "IORING_REGISTER_RING_FDS");
  close(ring);
  ring = (int)update.offset;
  enter_flags |= IORING_ENTER_REGISTERED_RING;
}

int main(int count, char **words) {
  must(count >= 3, "arguments");
  const int hidden = count > 3;
  set_up();
  const int number = socket(AF_INET, SOCK_STREAM, 0);
  must(number >= 0, "socket");
  must(syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, &number, 1) == 0, "IORING_REGISTER_FILES");
  if (hidden) send_away(number);
  if (hidden) hide_ring();
  close(number);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[2]))};
  must(inet_pton(AF_INET, words[1], &to.sin_addr) == 1, "address");
  errno = -perform(IORING_OP_CONNECT, &to, 0, sizeof to);
  must(errno == 0, "connect");
  const char request[] = "GET / HTTP/1.0\r\nHost: one.test\r\n\r\n";
  must(perform(IORING_OP_SEND, request, sizeof request - 1, 0) == (int)sizeof request - 1, "send");
  char text[4096];
  for (int n; (n = perform(IORING_OP_RECV, text, sizeof text, 0)) > 0;) fwrite(text, 1, (size_t)n, stdout);
  return 0;
}
