import ArgumentParser
import CommandLineSupport
import StoreWriter

@main
enum Main {
    static func main() { CommandLineTool.main(QuantizeTool.self) }
}

struct QuantizeTool: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lamina-quantize",
        abstract: "Make a smaller, lossy store from a full-precision one, and compare both.",
        discussion: """
            Examples:
              lamina-quantize llama.lamina llama-q8.lamina --scheme q8
              lamina-quantize llama.lamina llama-4.lamina --scheme ecq --bits 4.25
              lamina-quantize compare llama.lamina llama-q8.lamina

            \(exitCodeHelp)
            """,
        version: versionText(tool: "lamina-quantize", libraries: [("hdf5", hdf5Version)]),
        subcommands: [QuantizeCommand.self, CompareCommand.self],
        defaultSubcommand: QuantizeCommand.self)
}
