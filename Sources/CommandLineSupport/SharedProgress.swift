import CSystem
import Synchronization
import TensorCore

/// Progress of work that several threads do; it stops them where a signal came.
public final class SharedProgress: Sendable {
    private let report: Mutex<ProgressReport>

    public init(label: String, totalBytes: UInt64, isQuiet: Bool) {
        report = Mutex(ProgressReport(label: label, totalBytes: totalBytes, isQuiet: isQuiet))
    }

    /// Throws to end the work once a signal came.
    public func advance(by bytes: Int) throws(LaminaError) {
        guard lamina_caught_signal() == 0 else { throw LaminaError(.io, "", "interrupted") }
        report.withLock { $0.advance(by: UInt64(bytes)) }
    }

    public func finishedPart(_ text: String) { report.withLock { $0.finishedPart(text) } }

    /// Runs `body` and ends the bar with `done`; a program that was sent a signal ends here, as shells expect, after
    /// `interrupted` was said. Throws what `body` throws.
    public func run<Value>(
        _ done: String, interrupted: String? = nil, _ body: () throws(LaminaError) -> Value
    ) throws(LaminaError) -> Value {
        let outcome: Result<Value, LaminaError>
        do throws(LaminaError) {
            outcome = .success(try body())
        } catch {
            outcome = .failure(error)
        }
        guard case .success(let value) = outcome else {
            report.withLock { $0.clear() }
            let signal = lamina_caught_signal()
            if signal != 0 {
                if let interrupted { Console.note(interrupted + "\n") }
                CommandLineTool.exitForSignal(signal)
            }
            return try outcome.get()
        }
        report.withLock { $0.finish(done) }
        return value
    }
}
