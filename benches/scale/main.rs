//! What a federation of a million records costs, beside what it could cost at least.
//!
//! ```text
//! cargo bench --bench scale                 every row of the table, in some ten minutes
//! cargo bench --bench scale -- transfer     some of them: transfer, empty, million, reconcile,
//!                                           latency, writes, import, gossip
//! ```
//!
//! Rows that speak of memory or of two nodes run in processes of their own: this program again,
//! told by its first argument what to be. Nothing but loopback is used.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
#![allow(missing_docs, reason = "a program")]

mod bare;
mod fill;
mod floor;
mod gossip;
mod http;
mod process;
mod reconcile;
mod table;
mod times;
mod transfer;
mod write;

use table::Table;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == process::CHILD) {
        args.remove(0);
        process::be(&args);
        return;
    }
    let mut table = match Table::new(args) {
        Ok(table) => table,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    transfer::rows(&mut table);
    reconcile::rows(&mut table);
    write::rows(&mut table);
    gossip::rows(&mut table);
    std::process::exit(i32::from(!table.print()));
}
