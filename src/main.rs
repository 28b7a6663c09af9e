fn main() -> std::process::ExitCode {
    nuthatch::cli::main()
}
