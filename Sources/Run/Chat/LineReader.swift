import CLineEditor
import CSystem
import CommandLineSupport
import Glibc
import TensorCore

/// Lines of standard input: edited, with a history, at a terminal; else as they come.
final class LineReader {
    enum Line: Equatable {
        case text(String)
        /// Ctrl-C: what was typed is dropped.
        case interrupted
        case end
    }

    /// `nil` unless standard input and standard error are terminals.
    private let editor: OpaquePointer?
    private let history: String?
    private var input = StandardInputLines()

    /// `history` is a file that lines are remembered in from one session to the next.
    init(prompt: String, history: String?) {
        self.history = history
        let isTerminal = isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1
        editor = isTerminal ? lamina_line_editor_create(prompt) : nil
        if let editor, let history { lamina_line_editor_load(editor, history) }
    }

    deinit { lamina_line_editor_destroy(editor) }

    var isInteractive: Bool { editor != nil }

    /// The next line without its line feed. A signal other than Ctrl-C at a terminal ends the program. Throws `.io`,
    /// `.malformed` for bytes that are not UTF-8, `.limit` for a line too long.
    func next() throws(LaminaError) -> Line {
        // What was caught before belongs to the answer before.
        lamina_forget_signal()
        guard let editor else {
            lamina_release_signals()
            defer { lamina_catch_signals() }
            return try input.next().map { (line) throws(LaminaError) in .text(try line.text()) } ?? .end
        }
        lamina_signals_interrupt(true)
        defer { lamina_signals_interrupt(false) }
        var start: UnsafePointer<CChar>?
        var length = 0
        switch Int(lamina_line_editor_read(editor, &start, &length)) {
        case LAMINA_LINE_READ:
            let bytes = UnsafeRawBufferPointer(start: start, count: length)
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw LaminaError(.malformed, "standard input", "not UTF-8")
            }
            remember(text, editor)
            // A Ctrl-C that came just before the wait for keys has not ended it, and must not end the answer.
            leaveIfTold()
            return .text(text)
        case LAMINA_LINE_END: return .end
        case LAMINA_LINE_INTERRUPTED:
            leaveIfTold()
            return .interrupted
        default:
            throw LaminaError(.io, "standard input", "cannot read: \(SystemError(code: errno).text)")
        }
    }

    /// Forgets a Ctrl-C; any other signal ends the program.
    private func leaveIfTold() {
        let signal = lamina_caught_signal()
        lamina_forget_signal()
        if signal != SIGINT, signal != 0 { CommandLineTool.exitForSignal(signal) }
    }

    private func remember(_ line: String, _ editor: OpaquePointer) {
        guard line.utf8.contains(where: { $0 != UInt8(ascii: " ") }) else { return }
        lamina_line_editor_remember(editor, line)
        if let history { lamina_line_editor_save(editor, history) }
    }
}
