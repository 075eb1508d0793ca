import ArgumentParser
import CommandLineSupport
import LayerStore
import StoreWriter
import TensorCore

struct RestoreCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Rebuild the checkpoint a store was made from, byte for byte.",
        discussion: """
            Writes the files of weights (safetensors or pytorch_model.bin) and the small files beside them into \
            DIRECTORY, which may exist. Every tensor is compared with the SHA-256 of its source before its file gets \
            its name; the file is read back from the disk; and where the store knows the original's SHA-256, it must \
            be that. Files that are there are recognised by their bytes and kept; one that differs is never \
            overwritten. An interrupted run is completed by the same command. Standard output has lines as \
            sha256sum --check takes them. Takes at most 512 MiB of memory.

            Examples:
              lamina-convert restore llama.lamina Llama-3.2-1B > llama.sha256
              lamina-convert restore llama.lamina Llama-3.2-1B --dry-run
              lamina-convert restore llama.lamina Llama-3.2-1B --file model-00001-of-00002.safetensors

            \(exitCodeHelp)
            """)

    @OptionGroup var output: CheckpointOutput

    @Option(name: .customLong("file"), help: ArgumentHelp("Only this file; may be given again.", valueName: "name"))
    var names: [String] = []

    func execute() throws(LaminaError) {
        try output.run(verb: "restore", past: "restored", neighbours: .allowed) { (store) throws(LaminaError) in
            let files = try SourceFiles.all(of: store)
            for name in names where !files.contains(where: { $0.name == name }) {
                throw LaminaError(
                    .usage, "--file \(name)", "the checkpoint has no such file",
                    expected: files.map(\.name).joined(separator: ", "))
            }
            return names.isEmpty ? files : files.filter { names.contains($0.name) }
        }
    }
}
