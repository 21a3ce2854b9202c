//! The scheduler, case by case: SEEDS.md sections 6 to 8 and 10, and the SC cases of GO-SEMANTICS.md.
//!
//! Cases about an order run in a process of their own, with one P and no shaking; those about time
//! take the best of several tries, as the machine may be busy. Not here: the
//! ring itself (S42, S43, S49, SC08 to SC10), which is `gort-queue`'s, and SC11 (`find_work`).

mod block;
mod blocking_calls;
mod costs;
mod monitor;
mod preemption;
mod queues;
mod spread;
mod threads;
