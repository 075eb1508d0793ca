import ArgumentParser
import CSystem
import CommandLineSupport
import LayerStore
import StoreCommands
import StoreWriter
import TensorCore

struct DeleteOriginalCommand: ToolCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete-original",
        abstract: "Delete the weight files a store was made from, once the store is proven to hold them.",
        discussion: """
            Before anything goes: the whole store is read back from the disk and every tensor decoded and compared with \
            the digest of its source; every original is read once more and compared, byte for byte by SHA-256, with what \
            the store holds; each must still be the very file that was converted (same inode, size, times) with no \
            other name; the list, with SHA-256s, is made durable in STORE/originals.json. Only then are files removed, \
            one by one; an interrupted run is completed by the same command. Only files of weights are deleted, never \
            configs, tokenizers or licences. 'lamina-convert restore' brings them back, byte for byte.

            In a Hugging Face cache the folder holds links: a link and the blob it stands for are deleted only with \
            --delete-blobs, and only if no other snapshot refers to the blob.

            What stays is listed with its reason. The exit code is 65 if a file stays because it is not what was \
            converted any more.

            Examples:
              lamina-convert delete-original llama.lamina --dry-run
              lamina-convert delete-original llama.lamina --yes

            \(exitCodeHelp)
            """)

    @Argument(help: "The layer store.")
    var store: String

    @Flag(help: "Do not ask.")
    var yes = false

    @Flag(help: "List what would be deleted and what would stay, and the bytes that would be freed; read no weights.")
    var dryRun = false

    @OptionGroup var permissions: DeletionOptions

    @Option(name: [.short, .long], help: "Threads to use. Default: all processors.")
    var threads: Int?

    @Flag(name: [.short, .long], help: "No progress, only the result.")
    var quiet = false

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws { try checkThreads(threads) }

    func execute() throws(LaminaError) {
        lamina_catch_signals()
        let opened = try Store(path: store, in: RealFileSystem())
        var deletion = try OriginalsDeletion(of: opened, permissions: permissions.value)
        let preview = try deletion.preview()
        if dryRun {
            try deletion.release()
            return try show(preview, isPreview: true)
        }
        let bytes = formattedBytes(OriginalsReport.freedBytes(preview))
        try Consent.require("Delete \(bytes) of originals of \(store), once the store is proven?", yes: yes)
        let entries = try deletion.run(threads: threads, isQuiet: quiet)
        try show(entries, isPreview: false)
        try OriginalsReport.check(entries, store: store)
    }

    private func show(_ entries: [OriginalsDeletion.Entry], isPreview: Bool) throws(LaminaError) {
        let freed = OriginalsReport.freedBytes(entries)
        if json {
            let document: JSONValue = [
                "store": .string(store), "dry_run": .bool(isPreview), "freed_bytes": JSONValue(freed),
                "originals": OriginalsReport.json(entries),
            ]
            return try Console.out(document.text() + "\n")
        }
        for entry in entries { try Console.out(OriginalsReport.line(entry, isPreview: isPreview) + "\n") }
        try Console.out("\(formattedBytes(freed)) \(isPreview ? "would be freed" : "freed")\n")
    }
}

/// What may be deleted besides plain files of lossless stores.
struct DeletionOptions: ParsableArguments {
    @Flag(help: "In a Hugging Face cache: delete the blobs that the links stand for, too, unless they are shared.")
    var deleteBlobs = false

    @Flag(help: "Delete the originals of a lossy store: the only copy at full precision.")
    var allowLossy = false

    @Flag(help: "Delete the originals of a store that another version of Lamina made.")
    var allowOtherVersion = false

    var value: OriginalsDeletion.Permissions {
        var permissions = OriginalsDeletion.Permissions()
        permissions.blobs = deleteBlobs
        permissions.lossy = allowLossy
        permissions.otherVersion = allowOtherVersion
        return permissions
    }
}

extension OriginalsDeletion {
    /// Runs with a progress bar. Throws as the other `run`; a signal ends the program.
    mutating func run(threads: Int?, isQuiet: Bool) throws(LaminaError) -> [Entry] {
        let progress = SharedProgress(label: "prove", totalBytes: byteCount, isQuiet: isQuiet)
        let kernels = try chosenKernels()
        return try progress.run("proven and deleted", interrupted: "interrupted: the same command goes on") {
            () throws(LaminaError) in
            try run(threads: threads ?? Int(lamina_processor_count()), kernels: kernels) {
                (bytes) throws(LaminaError) in
                try progress.advance(by: bytes)
            }
        }
    }
}
