"""Delivery: what waits in the spool goes to the portal, in a short-lived process that outlives the host.

In: the spool. Out: gzip POSTs of all that waits. What the portal has answered for leaves the spool; the rest stays, for
a later attempt. One process of a user and a tool delivers at a time. Not imported by the host.
"""

from __future__ import annotations

import faulthandler
import gzip
import http.client
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime

from vibetel_client import contract, identity
from vibetel_client.consent import Consent, decide
from vibetel_client.spool import RETRY_MAX_S, ConsentTakenBack, Event, Spool
from vibetel_client.timestamps import format_timestamp
from vibetel_client.transport import LOCK_FD, envelope, start

# How long the process lives at most, and how long it waits for the portal within that.
LIFE_MAX_S = 10
ANSWER_MAX_S = 8.0

# 30 to 45 s after the first failure, then twice as long after each, up to an hour.
_FIRST_DELAY_S = 30
_LONGEST_DELAY_S = 3600
_DOUBLINGS_MAX_COUNT = 7
_ANSWER_MAX_BYTES = 1_000_000


class Outcome:
    """What became of one attempt: events accepted and rejected, and what kept the rest, `""` where nothing did."""

    def __init__(self) -> None:
        self.accepted_count = 0
        self.rejected_count = 0
        self.problem = ""


class _Answer:
    def __init__(self, status: int, headers: "http.client.HTTPMessage", body: bytes) -> None:
        self.status = status
        self.retry_after = headers.get("Retry-After")
        self.body = body


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would turn the POST into a GET."""

    def redirect_request(self, *_: object) -> None:
        return None


def main() -> None:
    """The process that a host starts, by `transport.start`. `sys.argv`: the program, the tool, the endpoint."""
    if sys.platform != "win32" and os.fork():
        os._exit(0)  # the host's child ends here: a host that waits for all its children does not wait for the portal
    faulthandler.dump_traceback_later(LIFE_MAX_S, exit=True)  # from a thread of C: no name look-up can hold it up
    began_s = time.monotonic()
    _, tool, endpoint = sys.argv
    if os.path.isabs(identity.folder(tool)):
        os.chdir(os.sep)  # the host's folder may be about to be removed
    spool = Spool(tool)
    if sys.platform != "win32":
        os.setsid()  # the session that `start` made has lost its leader
        os.closerange(LOCK_FD + 1, 1024)  # pipes of the host's parents: somebody may be waiting for their end
        os.nice(10)
        spool.delivery_lock.adopt(LOCK_FD)
    elif not spool.delivery_lock.acquire():
        return
    while True:
        outcome = deliver(tool, endpoint)
        spool.delivery_lock.release()
        # A host that found the lock taken started nothing: what it left must not wait for the next run. Only where the
        # portal answers: whatever else keeps events in the spool, it would keep this process at it, too.
        answered_count = outcome.accepted_count + outcome.rejected_count
        if not answered_count or not spool.is_due(time.time()):
            return
        if not spool.delivery_lock.acquire():
            return
        if time.monotonic() - began_s > LIFE_MAX_S / 2:  # it might not live to see the answer
            start(tool, endpoint, spool.delivery_lock.fd)
            return


def deliver(tool: str, endpoint: str) -> Outcome:
    """One attempt to deliver what waits, whenever the last one was. For the holder of the delivery lock.

    Without consent nothing is sent, and what a saved no left in the spool is removed. Raises OSError where the spool
    cannot be used.
    """
    spool, outcome, choice_file = Spool(tool), Outcome(), identity.path(tool)
    try:
        if decide(tool, os.environ, identity.read(choice_file).choice) is not Consent.ENABLED:
            raise ConsentTakenBack
        _attempt(spool, endpoint, outcome)
    except ConsentTakenBack:
        outcome.problem = "there is no consent"
    except FileNotFoundError:
        outcome.problem = "the spool was removed"
    if identity.read(choice_file).choice is False:  # not where the file cannot be read just now
        spool.clear()
    return outcome


def _attempt(spool: Spool, endpoint: str, outcome: Outcome) -> None:
    began_s = time.time()
    events = spool.take(began_s)
    if not events:
        return
    state = spool.state()
    # Noted before it is tried: an attempt that is killed was one, too.
    delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * _jitter() * 2 ** min(state.failures_count, _DOUBLINGS_MAX_COUNT))
    spool.remember(
        endpoint=endpoint,
        failures_count=state.failures_count + 1,
        not_before_s=began_s + delay_s,
        problem="the attempt was cut short",
    )
    if state.lost_count:
        events[0] = _with_lost_count(events[0], state.lost_count)
    batch_max_count = len(events)
    while events and not outcome.problem:
        batch = events[:batch_max_count]
        sent_at = format_timestamp(int(time.time() * 1000))
        try:
            answer = _post(endpoint, envelope(batch, sent_at), began_s + ANSWER_MAX_S - time.time())
        except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
            reason = getattr(error, "reason", None)  # urllib wraps what happened
            outcome.problem = type(reason if isinstance(reason, Exception) else error).__name__
            break
        accepted = _verdicts(answer, len(batch))
        if accepted is not None:
            spool.settle(batch, accepted, sent_at)
            outcome.accepted_count += accepted.count(True)
            outcome.rejected_count += accepted.count(False)
            events = events[len(batch) :]
        elif answer.status == 413:
            batch_max_count = (len(batch) + 1) // 2
        else:
            outcome.problem = f"HTTP status {answer.status}"
            wait_s = _retry_after_s(answer.retry_after)
            if wait_s is not None:
                spool.remember(not_before_s=time.time() + wait_s)
    if outcome.problem:
        spool.remember(problem=outcome.problem)
    else:
        spool.remember(failures_count=0, not_before_s=0, problem="")


def _post(endpoint: str, body: bytes, timeout_s: float) -> _Answer:
    """Proxies and certificates are the environment's. Raises OSError, HTTPException, ValueError, OverflowError."""
    if not endpoint.startswith(("https://", "http://")):
        raise ValueError("the endpoint is no http URL")
    headers = {
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
        "User-Agent": "vibetel-client",  # some gateways refuse Python's own
    }
    request = urllib.request.Request(endpoint, gzip.compress(body), headers)  # noqa: S310 - checked above
    try:
        answer = urllib.request.build_opener(_NoRedirects).open(request, timeout=max(timeout_s, 0.1))
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return _Answer(answer.status, answer.headers, answer.read(_ANSWER_MAX_BYTES))


def _verdicts(answer: _Answer, count: int) -> list[bool] | None:
    """Of each event, whether the portal accepts it; None where the answer is not the portal's: captive portals say 200,
    and proxies 400, to whatever they are asked."""
    if answer.status == 413 and count == 1:
        return [False]
    try:
        content = json.loads(answer.body)
        success = content["success"]
        if answer.status == 400 and success is False:
            return [False] * count  # none is accepted, or the body as a whole is refused
        verdicts = [result["status"] for result in content["results"]]
        complete = len(verdicts) == count and set(verdicts) <= {"accepted", "rejected"}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if 200 <= answer.status < 300 and success is True and complete:
        return [verdict == "accepted" for verdict in verdicts]
    return None


def _retry_after_s(value: str | None) -> float | None:
    """RFC 9110, section 10.2.3: seconds, or a date. None where it says nothing that can be used."""
    if value is None:
        return None
    try:
        wait_s = float(value) if value.isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return min(wait_s, RETRY_MAX_S) if wait_s > 0 else None


def _jitter() -> float:
    """Installations that failed together do not come back together."""
    return random.uniform(1, 1.5)  # noqa: S311 - no secret


def _with_lost_count(event: Event, lost_count: int) -> Event:
    """The event, in the contract's order, that reports what the spool gave up."""
    maximum = next(field.maximum for field in contract.FIELDS if field.name == "lostCount")
    complete = {**event, "lostCount": min(lost_count, maximum)}
    return {field.name: complete[field.name] for field in contract.FIELDS if field.name in complete}
