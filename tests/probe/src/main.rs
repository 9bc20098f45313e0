//! A static program to run in a container: it prints its own view, or does one small thing.
//!
//! Without arguments, or with `view`, it prints a [`view::View`] as JSON. See [`modes`] for the
//! rest.
//!
//! Few system calls are its own: those of a container's start are counted with it.
#![no_main]
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

mod modes;
mod paths;
mod status;
mod view;

hull_sys::entry_point!(run);

fn run() -> u8 {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match modes::run(&arguments) {
        Ok(code) => code,
        Err(message) => {
            println!("probe: {message}");
            99
        }
    }
}
