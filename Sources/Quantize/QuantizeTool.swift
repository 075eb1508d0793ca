import ArgumentParser
import CommandLineSupport
import StoreWriter
import TensorCore

@main
enum Main {
    static func main() { CommandLineTool.main(QuantizeTool.self) }
}

struct QuantizeTool: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "lamina-quantize",
        abstract: "Make a smaller, lossy store from a full-precision one.",
        discussion: """
            This version knows no quantization scheme yet: it only says so, and writes nothing. Lossless stores come \
            from lamina-convert.

            \(exitCodeHelp)
            """,
        version: versionText(tool: "lamina-quantize", libraries: [("hdf5", hdf5Version)]))

    @Argument(help: "The full-precision layer store.")
    var store: String

    @Argument(help: "The quantized store to make.")
    var output: String

    @Option(help: "The quantization scheme.")
    var scheme: String

    func execute() throws(LaminaError) {
        throw LaminaError(
            .usage, "--scheme \(scheme)", "this version knows no quantization scheme",
            hint: "lamina-convert makes lossless stores, about a third smaller than BF16")
    }
}
