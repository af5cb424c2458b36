//! The `sojourn` binary.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long freed memory waits for its next use before the system gets it back, in ms. A busy node frees and takes the same
/// megabytes all the time; given back at once, they cost page faults and zeroing that were a fifth of its CPU.
const FREED_MEMORY_KEPT_MS: std::ffi::c_long = 10_000;

/// `mi_option_purge_delay` of `mimalloc.h`, for which the bindings have no name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> std::process::ExitCode {
    // SAFETY: changes a number inside the allocator, before there is any other thread.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, FREED_MEMORY_KEPT_MS);
    }
    match sojourn_node::cli::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let _unheard =
                std::io::Write::write_all(&mut std::io::stderr(), format!("sojourn: {error:#}\n").as_bytes());
            std::process::ExitCode::FAILURE
        }
    }
}
