/// What a session is for; decides what memory it sets aside and what it reads ahead.
public enum Workload: Sendable {
    /// Sequences that advance together, each a prompt, then at most so many tokens.
    case generate([SequenceDemand])
    /// Sequences of which next-token distributions are wanted: each is taken once, in order.
    case evaluate([EvaluationDemand])
    /// One sequence of at most so many positions that takes turns: prompts of any length, tokens one by one, steps back.
    case chat(positions: Int)

    /// Log-probabilities of a text of so many tokens.
    public static func score(tokens: Int) -> Workload {
        .evaluate([EvaluationDemand(tokens: tokens, wanted: 0..<tokens)])
    }

    /// One prompt, then at most so many tokens.
    public static func generate(promptTokens: Int, newTokens: Int) -> Workload {
        .generate([SequenceDemand(promptTokens: promptTokens, newTokens: newTokens)])
    }
}

/// Tokens of one sequence.
public struct SequenceDemand: Sendable, Equatable {
    public var promptTokens: Int
    /// Most tokens to be generated; the last one is not fed back.
    public var newTokens: Int

    public init(promptTokens: Int, newTokens: Int) {
        self.promptTokens = promptTokens
        self.newTokens = newTokens
    }

    /// Positions of the KV cache it needs.
    public var positions: Int { promptTokens + max(0, newTokens - 1) }
}

/// A sequence of an evaluation.
public struct EvaluationDemand: Sendable, Equatable {
    /// Tokens that the model takes.
    public var tokens: Int
    /// Positions whose next-token distributions are wanted.
    public var wanted: Range<Int>

    public init(tokens: Int, wanted: Range<Int>) {
        self.tokens = tokens
        self.wanted = wanted
    }
}

/// Tokens to append to one sequence of a session.
public struct Feed: Sendable, Equatable {
    /// Which of the workload's sequences.
    public var sequence: Int
    public var tokens: [Int]

    public init(sequence: Int, tokens: [Int]) {
        self.sequence = sequence
        self.tokens = tokens
    }
}

extension Workload {
    var sequences: [SequenceDemand] {
        switch self {
        case .generate(let sequences): sequences
        case .evaluate(let demands): demands.map { SequenceDemand(promptTokens: $0.tokens, newTokens: 0) }
        case .chat(let positions):
            // What comes in one piece is not known: memory is divided for prompts of half the context, or a full pass.
            [
                SequenceDemand(
                    promptTokens: Workload.chatPrompt(positions),
                    newTokens: positions - Workload.chatPrompt(positions) + 1)
            ]
        }
    }

    private static func chatPrompt(_ positions: Int) -> Int {
        min(MemoryPlan.mostColumns, max(1, positions / 2))
    }

    /// The sequences of an evaluation, `nil` for what is not one.
    var evaluation: [EvaluationDemand]? { if case .evaluate(let demands) = self { demands } else { nil } }

    /// Rows of logits that are kept for callers: one per sequence that goes on from them.
    var logitsRows: Int { evaluation == nil ? sequences.count : 1 }

    /// Whether passes come as they come, so that none may leave the head out: what is read ahead is settled before.
    var isChat: Bool { if case .chat = self { true } else { false } }

    /// The length that a sequence's rotary frequencies are chosen by: its prompt's, or all positions of a chat, since
    /// what earlier turns left in the KV cache stays.
    func ropeLength(_ sequence: SequenceDemand) -> Int { isChat ? sequence.positions : sequence.promptTokens }

    /// Tokens known at the start, of all sequences.
    var promptTokens: Int { sequences.reduce(0) { $0 + $1.promptTokens } }

    /// Columns that passes could fill with these.
    var wantedColumns: Int { evaluation.map(EvaluationDivision.columns) ?? promptTokens }

    /// Steps after the prompts.
    var laterSteps: Int { sequences.reduce(0) { max($0, $1.newTokens - 1) } }
}

/// How tokens of several sequences are divided into passes of at most so many columns: sequence after sequence.
struct PassDivision: Sendable, Equatable {
    /// Tokens of one feed in a pass.
    struct Part: Sendable, Equatable {
        /// Index of the feed.
        var feed: Int
        var tokens: Range<Int>
        /// Whether the feed ends here, so that its logits are wanted.
        var isEnd: Bool
    }

    private(set) var passes: [[Part]] = []

    init(counts: [Int], columns: Int) {
        var room = 0
        for (feed, count) in counts.enumerated() {
            var next = 0
            while next < count {
                if room == 0 {
                    passes.append([])
                    room = columns
                }
                let end = min(count, next + room)
                passes[passes.count - 1].append(Part(feed: feed, tokens: next..<end, isEnd: end == count))
                room -= end - next
                next = end
            }
        }
    }

    /// What the passes read: those in which no feed ends leave the head out.
    var schedule: [PassSchedule] { PassSchedule.joined(passes.map { $0.contains(where: \.isEnd) }) }
}
