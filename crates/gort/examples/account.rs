//! An account that one goroutine owns: the others tell it what to do, and no lock is needed.
//!
//! ```text
//! cargo run --example account
//! ```
//!
//! The article's `SimpleAccount`, whose balance is changed by whoever calls, loses updates in Go and
//! does not compile in Rust (`tests/ui/s020_an_account_without_a_lock.rs`). `ConcurrentAccount` gives
//! 2010 in both.
//!
//! In Go, withdrawing more than there is panics in the owner, and the program ends with status 2. Here
//! the panic ends the owner alone: whoever joins it gets its text, and others find the account closed.
//! In Go the owner of an account that nobody uses any more waits for ever; here it ends with the last
//! handle.

#![forbid(unsafe_code)]

use gort::JoinHandle;
use gort::chan::{self, Receiver, Sender, select};
use gort::sync::WaitGroup;

#[derive(Clone)]
struct Account {
    deposits: Sender<i64>,
    withdrawals: Sender<i64>,
    /// Whoever asks sends the channel in which to answer.
    balances: Sender<Sender<i64>>,
}

impl Account {
    fn open(balance: i64) -> (Account, JoinHandle<i64>) {
        let (deposits, to_deposit) = chan::bounded(0);
        let (withdrawals, to_withdraw) = chan::bounded(0);
        let (balances, questions) = chan::bounded(0);
        let owner = gort::go(move || own(balance, &to_deposit, &to_withdraw, &questions));
        let account = Account {
            deposits,
            withdrawals,
            balances,
        };
        (account, owner)
    }

    /// `None` once the owner has ended.
    fn balance(&self) -> Option<i64> {
        let (tx, rx) = chan::bounded(1);
        self.balances.send(tx).ok()?;
        rx.recv().ok()
    }
}

/// Returns the balance when the last handle is gone.
fn own(
    mut balance: i64,
    to_deposit: &Receiver<i64>,
    to_withdraw: &Receiver<i64>,
    questions: &Receiver<Sender<i64>>,
) -> i64 {
    loop {
        select! {
            recv(to_deposit) -> amount => match amount {
                Ok(amount) => balance += amount,
                Err(_) => return balance,
            },
            recv(to_withdraw) -> amount => match amount {
                Ok(amount) if amount > balance => panic!("杰克穷死"),
                Ok(amount) => balance -= amount,
                Err(_) => return balance,
            },
            recv(questions) -> question => match question {
                // Whoever asked may have gone.
                Ok(question) => drop(question.send(balance)),
                Err(_) => return balance,
            },
        }
    }
}

#[gort::main]
fn main() {
    let (account, owner) = Account::open(10);
    let customers = WaitGroup::new();
    for _ in 0..1000 {
        let account = account.clone();
        customers.go(move || {
            account.deposits.send(3).expect("the owner is there");
            account.withdrawals.send(1).expect("the owner is there");
        });
    }
    customers.wait();
    println!("balance: {:?}", account.balance());
    drop(account);
    println!(
        "the owner ends with {}",
        owner.join().expect("nothing went wrong")
    );

    let (account, owner) = Account::open(10);
    account.withdrawals.send(11).expect("the owner is there");
    let panic = owner.join().expect_err("it cannot pay").into_panic();
    println!(
        "the owner panicked: {}",
        panic.downcast_ref::<&str>().expect("a text")
    );
    println!("balance: {:?}", account.balance());
}
