"""The hub process: `python -P -m dm_isaac_g1.data.hub.worker`. Questions come on stdin, answers go to stdout.

It holds nothing but what it was asked, and ends with its stdin: whoever started it is gone then.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading

import msgspec

from dm_isaac_g1.data.hub import asking
from dm_isaac_g1.data.hub.wire import Answered, Asked, Failed, Fetch, LookUp, Said, Verify


def main() -> None:
    # What a library prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(answer: Answered) -> None:
        with lock:
            answers.write(msgspec.json.encode(answer) + b"\n")
            answers.flush()

    _forward_waits(tell)
    asking.small_steps()
    questions: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions,), daemon=True).start()
    while True:
        asked: Asked = msgspec.json.decode(questions.get(), type=Asked)
        tell(_answer(asked, tell))


def _answer(asked: Asked, tell: asking.Tell) -> Answered:
    try:
        match asked:
            case LookUp():
                return asking.look_up(asked)
            case Fetch():
                return asking.fetch(asked, tell)
            case Verify():
                return asking.verify(asked, tell)
    except Exception as error:
        return Failed("HubProblem", "hub-failed", f"{type(error).__name__}: {error}")


def _listen(questions: queue.SimpleQueue[bytes]) -> None:
    for line in sys.stdin.buffer:
        questions.put(line)
    os._exit(0)  # in the midst of a transfer, too: nobody waits for it any more


def _forward_waits(tell: asking.Tell) -> None:
    """huggingface_hub waits out a rate limit and a broken connection by itself: say so. Addresses stay out of it."""

    class Waits(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if text.startswith(("Rate limited", "Retrying in")):
                tell(Said(f"the Hub asks to wait: {text}"))
            elif "Trying to resume download" in text:
                tell(Said("the transfer broke off, going on with it"))

    logger = logging.getLogger("huggingface_hub")
    logger.handlers = [Waits()]
    logger.propagate = False


if __name__ == "__main__":
    main()
