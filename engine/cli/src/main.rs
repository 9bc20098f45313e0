//! The `hull` command's entry point.

#![no_main]

hull_sys::entry_point!(hull_cli::main);
