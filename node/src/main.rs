//! The `sojourn` binary.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    match sojourn_node::cli::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let _unheard =
                std::io::Write::write_all(&mut std::io::stderr(), format!("sojourn: {error:#}\n").as_bytes());
            std::process::ExitCode::FAILURE
        }
    }
}
