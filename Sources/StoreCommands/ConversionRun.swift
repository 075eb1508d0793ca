import CSystem
import CommandLineSupport
import LayerStore
import StoreWriter
import TensorCore

/// Runs a conversion with a progress bar; a signal stops it at the next block.
package final class ConversionRun {
    private let conversion: Conversion
    private let source: any ConversionSource
    private let observer: Observer
    private let past: String

    /// `verb` and its past form are for progress.
    package init(
        _ conversion: Conversion, _ source: any ConversionSource, verb: String, past: String, isQuiet: Bool
    ) {
        self.conversion = conversion
        self.source = source
        self.past = past
        observer = Observer(
            ProgressReport(label: verb, totalBytes: conversion.plan.byteCount, isQuiet: isQuiet), isQuiet: isQuiet)
    }

    /// Originals that were decided on while it ran.
    package var deleted: [OriginalsDeletion.Entry] { observer.entries }

    /// Throws what the conversion throws; a signal ends the program, after `whenInterrupted`.
    package func make(
        at path: String,
        whenInterrupted: () -> Void = { Console.note("interrupted: the same command completes it\n") }
    ) throws(LaminaError) -> Manifest {
        do throws(LaminaError) {
            let manifest = try conversion.run(to: path, source: source, observer: observer)
            observer.report.finish("\(past) \(manifest.tensorCount) tensors")
            return manifest
        } catch {
            observer.report.clear()
            if observer.signal != 0 {
                whenInterrupted()
                CommandLineTool.exitForSignal(observer.signal)
            }
            throw error
        }
    }

    private final class Observer: ConversionObserver {
        let report: ProgressReport
        private(set) var signal: Int32 = 0
        private(set) var entries: [OriginalsDeletion.Entry] = []
        private let isQuiet: Bool

        init(_ report: ProgressReport, isQuiet: Bool) {
            self.report = report
            self.isQuiet = isQuiet
        }

        func stored(bytes: UInt64) throws(LaminaError) {
            signal = lamina_caught_signal()
            guard signal == 0 else { throw LaminaError(.io, "", "interrupted") }
            report.advance(by: bytes)
        }

        func finished(shard: Manifest.Shard, sourceBytes: UInt64, reused: Bool) {
            let what =
                reused
                ? "kept from the interrupted run" : "\(formattedBytes(sourceBytes)) -> \(formattedBytes(shard.size))"
            report.finishedPart("\(shard.path) \(what)")
        }

        func decided(on original: OriginalsDeletion.Entry) {
            entries.append(original)
            guard !isQuiet else { return }
            report.clear()
            Console.note(OriginalsReport.line(original) + "\n")
        }

        func skipped(layer: String, because error: LaminaError) {
            report.clear()
            Console.note("layer \(escapedForDisplay(layer)) cannot be made: \(error)\n")
        }
    }
}
