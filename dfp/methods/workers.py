"""Tasks on any executor: results as they are finished, and again where a worker died."""

import itertools
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from typing import Any

from dfp.checks import shown
from dfp.errors import DFPError, UnsupportedError


class Workers:
    """An executor whose broken processes are replaced.

    Parameters
    ----------
    executor
        Any ``concurrent.futures.Executor``, or a Dask ``Client``.
    retries
        How often tasks are tried anew whose worker died.

    Raises
    ------
    DFPError
        If it is neither.
    """

    def __init__(self, executor: Any, retries: int) -> None:
        dask = hasattr(executor, "get_executor")
        self._pool = executor.get_executor(pure=False, retries=retries) if dask else executor
        if not isinstance(self._pool, Executor):
            raise DFPError(
                f"executor={shown(executor)}: must be a concurrent.futures.Executor or a Dask client; give e.g. a "
                "ProcessPoolExecutor."
            )
        self._retries, self._tried, self._own = retries, 0, False

    def results(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Yield the number and the result ``function(*task)`` of every task, in the order in which they are finished.

        Raises
        ------
        DFPError
            If workers died more often than is tried.
        UnsupportedError
            If processes cannot be sent what they are to call.
        """
        if isinstance(self._pool, ProcessPoolExecutor) and tasks:
            function, tasks = _sent(function, tasks)
        left = set(range(len(tasks)))
        while left:
            try:
                for number, result in _gathered(self._pool, function, {n: tasks[n] for n in sorted(left)}):
                    left.discard(number)
                    yield number, result
            except (BrokenExecutor, CancelledError) as error:
                self._tried += 1
                if self._tried > self._retries:
                    raise DFPError(
                        f"executor: workers died {self._tried} times ({error}); raise retries, or look why."
                    ) from error
                if isinstance(self._pool, ProcessPoolExecutor):  # a broken one takes no tasks any more
                    fresh = _like(self._pool)
                    self.close()
                    self._pool, self._own = fresh, True

    def close(self) -> None:
        """Let go of processes that have been started here."""
        if self._own:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _sent(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
) -> tuple[Callable[..., Any], Sequence[tuple[Any, ...]]]:
    """Return a call and its tasks in a form that processes can be sent, by value where names do not do."""
    try:
        pickle.dumps((function, tasks[0]))
        return function, tasks
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        cause = error
    try:
        import cloudpickle  # type: ignore[import-untyped]

        return _unpacked, [(cloudpickle.dumps((function, task)),) for task in tasks]
    except (ImportError, pickle.PicklingError, AttributeError, TypeError):
        raise UnsupportedError(
            f"executor: a function cannot be sent to processes ({cause}); define it by def at the top of a module, "
            "install dfp[dask], whose cloudpickle sends most others, or use a ThreadPoolExecutor."
        ) from None


def _unpacked(content: bytes) -> Any:
    function, task = pickle.loads(content)
    return function(*task)


def _like(pool: ProcessPoolExecutor) -> ProcessPoolExecutor:
    """Return a new pool of as many processes, started in the same way."""
    return ProcessPoolExecutor(
        getattr(pool, "_max_workers", None),
        mp_context=getattr(pool, "_mp_context", None),
        initializer=getattr(pool, "_initializer", None),
        initargs=getattr(pool, "_initargs", ()),
    )


def _gathered(
    pool: Executor, function: Callable[..., Any], tasks: Mapping[int, tuple[Any, ...]]
) -> Iterator[tuple[int, Any]]:
    """Yield the number of a task and its result, and, once all that can be had is there, raise what went wrong."""
    waiting: dict[Future[Any], int] = {}
    failure: BaseException | None = None
    try:
        for number, task in tasks.items():
            waiting[pool.submit(function, *task)] = number
    except BrokenExecutor as error:  # while tasks are still handed out
        failure = error
    try:
        while waiting:
            for future in _finished(waiting):
                number = waiting.pop(future)
                fault = CancelledError() if future.cancelled() else future.exception()
                if fault is None:
                    yield number, future.result()
                elif isinstance(fault, (BrokenExecutor, CancelledError)):
                    failure = fault
                elif type(fault).__name__ == "KilledWorker":  # Dask's, which has tried several times
                    failure = BrokenExecutor(str(fault))
                else:
                    raise fault
    finally:
        for future in waiting:
            future.cancel()
    if failure is not None:
        raise failure


def _finished(waiting: Mapping[Future[Any], int]) -> set[Future[Any]]:
    from concurrent.futures import wait

    return set(itertools.chain(wait(waiting, return_when=FIRST_COMPLETED).done))
