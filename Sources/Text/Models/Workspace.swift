import Synchronization

/// What encoding a text needs besides the tokenizer, kept for the next text.
struct Workspace: Sendable {
    /// Ids of pieces encoded before.
    let cache = WordCache()
    var merging = MergeEngine.Scratch()
    var path = Unigram.Path()
}

/// Workspaces not in use: as many as texts were ever encoded at the same time, up to a limit.
final class WorkspacePool: Sendable {
    private static let mostKept = 16

    private let idle = Mutex<[Workspace]>([])

    func take() -> Workspace { idle.withLock { $0.popLast() } ?? Workspace() }

    func giveBack(_ workspace: Workspace) {
        idle.withLock { if $0.count < WorkspacePool.mostKept { $0.append(workspace) } }
    }
}
