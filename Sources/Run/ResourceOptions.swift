import ArgumentParser
import CSystem
import CommandLineSupport
import Inference
import ModelCommandSupport
import TensorCore

/// The machine's resources and the context: what changes speed, and, but for the type of keys and values, never results.
struct ResourceOptions: ParsableArguments {
    @OptionGroup var machine: MachineOptions

    @Option(
        name: [.customShort("c"), .customLong("ctx")],
        help: ArgumentHelp(
            "Positions to make room for. Default: the prompt and --max-tokens, at most what the model was made for.",
            valueName: "n"))
    var context: Int?

    func validate() throws {
        if let context, context < 1 { throw ValidationError("--ctx must be at least 1, not \(context)") }
    }

    /// Threads asked for, or one per processor.
    var threadCount: Int { machine.threadCount }

    /// What a session is told.
    var session: SessionOptions { machine.session }

    /// Positions for `wanted` tokens in `model`. Throws `.usage` for a context the model was not made for.
    func positions(_ wanted: Int, model: StoredModel) throws(LaminaError) -> Int {
        let most = model.config.maximumPositions
        guard let context else { return min(wanted, most) }
        guard context <= most else {
            throw LaminaError(
                .usage, "--ctx", "the model was not made for such a context", expected: "at most \(most) positions",
                found: "\(context)")
        }
        return context
    }

    /// Tokens to generate after a prompt of so many: `maxTokens`, less where the context ends. Throws `.usage` for a
    /// prompt that is longer than the context.
    func limit(promptTokens: Int, maxTokens: Int, model: StoredModel) throws(LaminaError) -> Int {
        // The last token generated is not fed back, so it needs no position.
        let wanted = promptTokens.addingReportingOverflow(maxTokens - 1)
        let positions = try positions(wanted.overflow ? Int.max : wanted.partialValue, model: model)
        guard promptTokens <= positions else {
            throw LaminaError(
                .usage, "--ctx", "the prompt is longer than the context", expected: "at most \(positions) tokens",
                found: "\(promptTokens)")
        }
        return min(maxTokens, positions - promptTokens + 1)
    }
}

/// Token ids on a command line: `1,2,3`.
struct TokenList: ExpressibleByArgument {
    var ids: [Int]

    init?(argument: String) {
        var ids: [Int] = []
        for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
            guard let id = Int(part), id >= 0 else { return nil }
            ids.append(id)
        }
        self.ids = ids
    }
}

/// Refuses ids that the model's vocabulary lacks. Throws `.usage`.
func checkTokens(_ ids: [Int], model: StoredModel, option: String) throws(LaminaError) {
    for id in ids where id >= model.config.vocabularySize {
        throw LaminaError(
            .usage, option, "token id out of range", expected: "0 to \(model.config.vocabularySize - 1)", found: "\(id)"
        )
    }
}
