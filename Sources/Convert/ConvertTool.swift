import ArgumentParser
import CommandLineSupport
import StoreWriter

@main
enum Main {
    static func main() { CommandLineTool.main(ConvertTool.self) }
}

struct ConvertTool: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lamina-convert",
        abstract: "Turn a Hugging Face checkpoint into a layer store, without losing a bit.",
        discussion: """
            A layer store holds one compressed shard per layer; lamina-run streams it, lamina-verify proves it intact.
            The checkpoint is only read, never changed, unless its deletion is asked for. A store gives it back: restore
            writes the original files, byte for byte, export the same weights as safetensors.

            Examples:
              lamina-convert SmolLM2-135M-Instruct smollm2.lamina
              lamina-convert inspect smollm2.lamina
              lamina-convert delete-original smollm2.lamina --dry-run
              lamina-convert restore smollm2.lamina SmolLM2-135M-Instruct

            \(exitCodeHelp)
            """,
        version: versionText(tool: "lamina-convert", libraries: [("hdf5", hdf5Version)]),
        subcommands: [
            ConvertCommand.self, InspectCommand.self, DeleteOriginalCommand.self, RestoreCommand.self,
            ExportCommand.self,
        ],
        defaultSubcommand: ConvertCommand.self)
}
