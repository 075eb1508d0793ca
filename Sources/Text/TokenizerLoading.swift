import TensorCore

extension Tokenizer {
    /// The files of a checkpoint that a tokenizer may be made of, those that hold tokens first.
    public static let fileNames =
        vocabularyFiles + ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]

    private static let vocabularyFiles = ["tokenizer.json", "tokenizer.model", "qwen.tiktoken"]

    /// Loads a tokenizer from what there is in a folder: tokenizer.json, else tokenizer.model (SentencePiece, or a rank
    /// file), else qwen.tiktoken, the latter two with what tokenizer_config.json, special_tokens_map.json and
    /// added_tokens.json say. `nil` if there is none of the three.
    ///
    /// `read` returns the bytes of a file of the folder, `nil` if there is no such file; `folder` names it in errors.
    /// Throws `.malformed`, naming what is not supported, and what `read` throws.
    public init?(
        folder: String, read: (_ name: String) throws(LaminaError) -> [UInt8]?
    ) throws(LaminaError) {
        for name in Tokenizer.vocabularyFiles {
            guard let bytes = try read(name) else { continue }
            guard bytes.count <= Tokenizer.maximumFileBytes else {
                throw LaminaError(
                    .malformed, folder + "/" + name, "the file is too large",
                    expected: "at most \(Tokenizer.maximumFileBytes) bytes", found: "\(bytes.count)")
            }
            if name == "tokenizer.json" {
                try self.init(json: bytes, file: folder + "/" + name)
                return
            }
            let config = try TokenizerConfig(folder: folder, read)
            do throws(LaminaError) {
                let isSentencePiece = name == "tokenizer.model" && SentencePieceFile.isOne(bytes)
                self.init(
                    isSentencePiece
                        ? try TokenizerPipeline(sentencePiece: bytes, config)
                        : try TokenizerPipeline(ranks: bytes, config))
            } catch {
                throw error.subject.isEmpty ? error.about(folder + "/" + name) : error
            }
            return
        }
        return nil
    }
}
