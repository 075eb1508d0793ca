import ArgumentParser
import CSystem
import Glibc
import TensorCore

/// A command of one of the tools: `execute` instead of `run`, so that errors keep their type up to the edge.
public protocol ToolCommand: ParsableCommand {
    func execute() throws(LaminaError)
}

extension ToolCommand {
    public func run() throws { try execute() }
}

/// Exit codes, in the words every `--help` ends with.
public let exitCodeHelp = """
    Exit codes: 0 success, 1 a bug in Lamina, 3 damage found, 64 usage, 65 malformed or unsupported input, \
    66 missing input, 70 memory or size limit, 73 cannot create output, 74 input/output error, 75 locked, \
    128+N ended by signal N.
    """

/// Runs a tool's root command: the one place where errors become text and exit codes.
public enum CommandLineTool {
    public static func main(_ root: any ParsableCommand.Type) -> Never {
        lamina_claim_standard_streams()
        // A closed pipe shows as a write error, which `Console` handles; it must not kill the process mid-file.
        signal(SIGPIPE, SIG_IGN)
        do {
            guard SHA256.isAvailable else {
                throw LaminaError(
                    .unexpected, "libcrypto", "offers no SHA-256",
                    hint: "check the OpenSSL configuration, OPENSSL_CONF=\(Console.environment("OPENSSL_CONF") ?? "")")
            }
            try checkArguments()
            var command = try root.parseAsRoot()
            try command.run()
        } catch let error as LaminaError {
            Console.note("error: \(error)\n")
            if let hint = error.hint { Console.note("hint: \(hint)\n") }
            exit(error.kind.exitCode)
        } catch {
            root.exit(withError: error)
        }
        exit(0)
    }

    /// A name that is not UTF-8 would turn into another one, and a file of that name be read or made.
    private static func checkArguments() throws(LaminaError) {
        for index in 0..<Int(CommandLine.argc) {
            guard let argument = CommandLine.unsafeArgv[index], String(validatingCString: argument) == nil else {
                continue
            }
            throw LaminaError(
                .usage, String(cString: argument), "an argument is not UTF-8",
                hint: "give the file another name, or a link to it")
        }
    }

    /// Ends the process the way a caught signal asks for, after the command has cleaned up.
    public static func exitForSignal(_ number: Int32) -> Never { exit(128 + number) }
}

/// Throws for a number of threads that no machine has.
public func checkThreads(_ threads: Int?) throws {
    if let threads, !(1...1024).contains(threads) {
        throw ValidationError("--threads must be between 1 and 1024, not \(threads)")
    }
}
