#include "divert/broker/error_summary.h"

#include <cerrno>

#include "tests/test.h"

TEST_CASE("complaints: one line for each errno, however often it comes") {
  divert::ErrorSummary complaints{divert::kUnknownDestinations};
  CHECK(complaints.summary().empty());
  CHECK(complaints.about({"cannot ask pf about 10.0.0.7:1", EPERM}) ==
        "cannot ask pf about 10.0.0.7:1; the connection is closed");
  CHECK(complaints.summary() == "1 connection was closed because its destination is unknown");
  CHECK(!complaints.about({"cannot ask pf about 10.0.0.7:2", EPERM}));
  CHECK(complaints.about({"more than one state", E2BIG}));
  CHECK(!complaints.about({"cannot ask pf about 10.0.0.7:3", EPERM}));
  CHECK(complaints.summary() == "4 connections were closed because their destinations are unknown");
}

TEST_CASE("complaints: a socket that cannot be made closes no connection yet") {
  divert::ErrorSummary complaints{divert::kNoProgramSockets};
  CHECK(complaints.about({"cannot make a socket as user 7 and group 7", EMFILE}) ==
        "cannot make a socket as user 7 and group 7; a connection that needs one waits for it "
        "for up to 12 seconds, and is closed then");
  CHECK(complaints.summary() == "1 attempt to make a socket in a program's name has failed");
  CHECK(!complaints.about({"cannot make a socket as user 8 and group 8", EMFILE}));
  CHECK(complaints.summary() == "2 attempts to make a socket in a program's name have failed");
}
