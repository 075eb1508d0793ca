import CSystem
import Glibc
import TensorCore

/// Results on standard output, everything else on standard error; both unbuffered, so that text appears as it comes.
public enum Console {
    /// Writes a result. Throws `.io` if it cannot be written, so that a full disk is never a success. A reader that
    /// went away (`head`) ends the process quietly: nobody is left to tell.
    public static func out(_ text: String) throws(LaminaError) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR || errno == EAGAIN { continue }
                if errno == EPIPE { exit(0) }
                throw LaminaError(.io, "standard output", "cannot write: \(SystemError(code: errno).text)")
            }
            bytes = bytes.dropFirst(count)
        }
    }

    /// The next piece of standard input, empty at its end. Throws `.io`.
    public static func read() throws(LaminaError) -> [UInt8] {
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = chunk.withUnsafeMutableBytes { Glibc.read(STDIN_FILENO, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                throw LaminaError(.io, "standard input", "cannot read: \(SystemError(code: errno).text)")
            }
            return Array(chunk[..<count])
        }
    }

    /// All of standard input. Throws `.io`, and `.limit` if it is longer than `limit` bytes.
    public static func readAll(limit: Int) throws(LaminaError) -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let piece = try read()
            if piece.isEmpty { return bytes }
            bytes += piece
            guard bytes.count <= limit else {
                throw LaminaError(.limit, "standard input", "longer than \(limit) bytes")
            }
        }
    }

    /// Writes a note; a standard error that is closed is nobody's problem.
    public static func note(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }

    /// Whether standard error is a terminal that can redraw a line.
    public static var isInteractive: Bool {
        guard isatty(STDERR_FILENO) == 1 else { return false }
        return environment("TERM") != "dumb"
    }

    /// The terminal's width in columns, 80 if unknown.
    public static var columns: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// An environment variable's value, `nil` if unset.
    public static func environment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }

    /// Those of the environment variables `names` that are set.
    public static func environment(_ names: [String]) -> [String: String] {
        var values: [String: String] = [:]
        for name in names { values[name] = environment(name) }
        return values
    }
}
