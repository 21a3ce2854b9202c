//! Deposits from many goroutines without a lock: `&mut self` cannot be shared.

use std::sync::Arc;

struct Account {
    balance: i64,
}

impl Account {
    fn deposit(&mut self, amount: i64) {
        self.balance += amount;
    }
}

fn main() {
    let account = Arc::new(Account { balance: 0 });
    for _ in 0..1000 {
        let account = Arc::clone(&account);
        gort::go(move || account.deposit(1));
    }
}
