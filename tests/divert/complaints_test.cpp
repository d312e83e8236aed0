#include "divert/complaints.h"

#include <cerrno>

#include "tests/test.h"

TEST_CASE("complaints: one line for each errno, however often it comes") {
  divert::Complaints complaints;
  CHECK(complaints.summary().empty());
  CHECK(complaints.about({"cannot ask pf about 10.0.0.7:1", EPERM}) ==
        "cannot ask pf about 10.0.0.7:1; the connection is closed");
  CHECK(complaints.summary() == "1 connection was closed because nobody could say where it went");
  CHECK(!complaints.about({"cannot ask pf about 10.0.0.7:2", EPERM}));
  CHECK(complaints.about({"more than one state", E2BIG}));
  CHECK(!complaints.about({"cannot ask pf about 10.0.0.7:3", EPERM}));
  CHECK(complaints.summary() == "4 connections were closed because nobody could say where they went");
}
