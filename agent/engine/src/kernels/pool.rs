//! The worker pool: a job is a number of independent tasks that workers and the caller claim one
//! by one. It exists because forward passes are hundreds of jobs of some tens of microseconds.
//!
//! It must never wait for a worker that has not claimed a task: on a busy machine a worker may be
//! off the CPU for milliseconds, and then the caller does all the work itself. Waiting spins
//! briefly, then sleeps. Nothing is allocated per job.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Spins before a worker sleeps: some tens of microseconds, longer than the serial steps between
/// the jobs of one forward pass.
const WORKER_SPINS: u32 = 3000;
/// Spins before the caller sleeps until the last claimed task is done: about one task.
const CALLER_SPINS: u32 = 1000;
/// Tasks per job; the ticket has 16 bits for them.
pub(crate) const MAX_TASKS: usize = u16::MAX as usize;

type Task = dyn Fn(usize, usize) + Sync;

/// A job's function with its lifetime erased.
#[derive(Clone, Copy)]
struct Job(*const Task);

struct Shared {
    /// `epoch << 32 | next task << 16 | tasks`. Claiming is a compare-and-swap, so a worker that
    /// slept through an epoch cannot claim a task of another one.
    ticket: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    done: AtomicU32,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    caller_sleeps: AtomicBool,
    stop: AtomicBool,
    lock: Mutex<()>,
    work: Condvar,
    finished: Condvar,
}

// SAFETY: `job` is written only by the caller that holds the pool's gate, while no task of an
// earlier job is claimed and unfinished, and read only between claiming a task and reporting it
// done (see `work_on`), so accesses never overlap; all other fields are synchronized themselves.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` refers to a `Sync` function and is used only while its owner waits.
unsafe impl Send for Shared {}

/// Worker threads; the caller of [`Pool::run`] is one more.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// One job at a time; whoever finds it taken works alone.
    gate: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

fn ignore_poison<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn claim(&self, epoch: Option<u64>) -> Option<(usize, u32)> {
        let mut ticket = self.ticket.load(SeqCst);
        loop {
            let (next, tasks) = (ticket >> 16 & 0xffff, ticket & 0xffff);
            if next >= tasks || epoch.is_some_and(|epoch| epoch != ticket >> 32) {
                return None;
            }
            match self.ticket.compare_exchange_weak(ticket, ticket + (1 << 16), SeqCst, SeqCst) {
                Ok(_) => return Some((next as usize, tasks as u32)),
                Err(now) => ticket = now,
            }
        }
    }

    /// Claims and runs tasks until none is left.
    fn work_on(&self, worker: usize, epoch: Option<u64>) {
        while let Some((task, tasks)) = self.claim(epoch) {
            // SAFETY: the claim succeeded, so the job published with this ticket is current, and
            // its owner cannot return from `run` (which would end the function's lifetime) or
            // publish another before `done` counts this task.
            let job = unsafe { *self.job.get() };
            if let Some(Job(function)) = job {
                // SAFETY: as above; the pointer came from a live reference to a `Sync` function.
                let run = || unsafe { (*function)(task, worker) };
                if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
                    *ignore_poison(self.panic.lock()) = Some(payload);
                }
            }
            let done = self.done.fetch_add(1, SeqCst) + 1;
            if done == tasks && self.caller_sleeps.load(SeqCst) {
                let _guard = ignore_poison(self.lock.lock());
                self.finished.notify_all();
            }
        }
    }

    fn has_work(&self) -> bool {
        let ticket = self.ticket.load(SeqCst);
        (ticket >> 16 & 0xffff) < (ticket & 0xffff)
    }

    fn worker(&self, worker: usize) {
        while !self.stop.load(SeqCst) {
            self.work_on(worker, None);
            if (0..WORKER_SPINS).any(|_| {
                std::hint::spin_loop();
                self.has_work()
            }) {
                continue;
            }
            // Counting as a sleeper before looking again, against a caller that publishes before
            // looking for sleepers: one of the two sees the other. The lock closes the gap
            // between looking and sleeping.
            let mut guard = ignore_poison(self.lock.lock());
            self.sleepers.fetch_add(1, SeqCst);
            while !self.has_work() && !self.stop.load(SeqCst) {
                guard = ignore_poison(self.work.wait(guard));
            }
            self.sleepers.fetch_sub(1, SeqCst);
        }
    }

    fn wait_until_done(&self, tasks: u32) {
        for _ in 0..CALLER_SPINS {
            if self.done.load(SeqCst) == tasks {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = ignore_poison(self.lock.lock());
        self.caller_sleeps.store(true, SeqCst);
        while self.done.load(SeqCst) != tasks {
            guard = ignore_poison(self.finished.wait(guard));
        }
        self.caller_sleeps.store(false, SeqCst);
    }
}

impl Pool {
    /// A pool that runs `threads` tasks at a time (at least one: the caller).
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            done: AtomicU32::new(0),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            caller_sleeps: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            lock: Mutex::new(()),
            work: Condvar::new(),
            finished: Condvar::new(),
        });
        let mut pool = Self { shared, gate: Mutex::new(()), workers: Vec::new() };
        for worker in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name(format!("engine-{worker}"));
            pool.workers.push(builder.spawn(move || shared.worker(worker))?);
        }
        Ok(pool)
    }

    /// Tasks that run at a time; the worker numbers given to tasks are below it.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `function(task, worker)` for every task below `tasks`, in any order and in parallel.
    /// Tasks that run at the same time have different workers. Panics of tasks are passed on.
    pub(crate) fn run(&self, tasks: usize, function: &(dyn Fn(usize, usize) + Sync)) {
        assert!(tasks <= MAX_TASKS);
        let gate =
            if self.workers.is_empty() || tasks < 2 { None } else { self.gate.try_lock().ok() };
        let Some(_gate) = gate else {
            return (0..tasks).for_each(|task| function(task, 0));
        };
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. The pointer is used by tasks of this job only, and
        // this function returns or unwinds only after all of them are done.
        let job = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize, usize) + Sync + '_), *const Task>(function)
        };
        // SAFETY: the gate is held and every task of the previous job is done (`run` waited), so
        // no one reads `job`, and no one will before the ticket below is published.
        unsafe { *shared.job.get() = Some(Job(job)) };
        shared.done.store(0, SeqCst);
        let epoch = (shared.ticket.load(SeqCst) >> 32).wrapping_add(1) & 0xffff_ffff;
        shared.ticket.store(epoch << 32 | tasks as u64, SeqCst);
        if shared.sleepers.load(SeqCst) > 0 {
            let _guard = ignore_poison(shared.lock.lock());
            shared.work.notify_all();
        }
        shared.work_on(0, Some(epoch));
        shared.wait_until_done(tasks as u32);
        let payload = ignore_poison(shared.panic.lock()).take();
        if let Some(payload) = payload {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        {
            let _guard = ignore_poison(self.shared.lock.lock());
            self.shared.work.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker catches the panics of tasks; there is nothing left to report.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_the_timing() {
        let pool = Pool::new(4).unwrap();
        for round in 0..3000usize {
            let tasks = round % 37;
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, &|task, worker| {
                assert!(worker < 4);
                counts[task].fetch_add(1, SeqCst);
            });
            assert!(counts.iter().all(|count| count.load(SeqCst) == 1), "round {round}");
            let all_must_sleep = round % 500 == 0;
            while all_must_sleep && pool.shared.sleepers.load(SeqCst) < pool.workers.len() {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let pool = Pool::new(3).unwrap();
        let run = || pool.run(10, &|task, _| assert!(task != 5, "task five"));
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        let count = AtomicUsize::new(0);
        pool.run(10, &|_, _| {
            count.fetch_add(1, SeqCst);
        });
        assert_eq!(count.load(SeqCst), 10);
    }

    #[test]
    fn callers_on_several_threads_do_not_wait_for_each_other() {
        let pool = Pool::new(2).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let count = AtomicUsize::new(0);
                        pool.run(9, &|_, _| {
                            count.fetch_add(1, SeqCst);
                        });
                        assert_eq!(count.load(SeqCst), 9);
                    }
                });
            }
        });
    }
}
