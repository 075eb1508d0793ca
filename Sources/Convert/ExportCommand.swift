import ArgumentParser
import CommandLineSupport
import LayerStore
import StoreWriter
import TensorCore

struct ExportCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write a store's weights as safetensors, whatever the checkpoint's own files were.",
        discussion: """
            Writes model.safetensors, or several files and model.safetensors.index.json, with the tensors' names, \
            dtypes and shapes as in the checkpoint, and the small files beside them: pytorch_model.bin becomes \
            safetensors, for example. Tied tensors are left out, as in the checkpoint. For the original files, byte for \
            byte, use restore. Every tensor is compared with the SHA-256 of its source, every file read back. Quantized \
            tensors are written with the values they have, rounded to the checkpoint's dtype. The same \
            store and options give the same bytes. DIRECTORY is a folder that does not exist yet or is empty, or an \
            interrupted export, which is completed. Standard output has lines as sha256sum --check takes them. Takes \
            at most 512 MiB of memory.

            Examples:
              lamina-convert export internlm.lamina InternLM-safetensors
              lamina-convert export llama.lamina Llama-small-files --shard-size 2GB --used-only

            \(exitCodeHelp)
            """)

    @OptionGroup var output: CheckpointOutput

    @Option(help: ArgumentHelp("Bytes of tensors in one file. Default: 5GB.", valueName: "size"))
    var shardSize: ByteSize?

    @Flag(help: "Leave out tensors that running the model does not need.")
    var usedOnly = false

    func execute() throws(LaminaError) {
        try output.run(verb: "export", past: "exported", neighbours: .refused) { (store) throws(LaminaError) in
            try ExportFiles.all(
                of: store, fileBytes: shardSize?.bytes ?? ExportFiles.defaultFileBytes, usedOnly: usedOnly)
        }
    }
}
