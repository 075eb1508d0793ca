import Glibc
import TensorCore

/// Asks before what cannot be undone is done.
public enum Consent {
    /// Returns if the user agrees: by `--yes`, or on a terminal by answering `question`. Throws `.usage` where there is
    /// nobody to ask, or if the answer is anything but yes.
    public static func require(_ question: String, yes: Bool) throws(LaminaError) {
        if yes { return }
        guard isatty(STDIN_FILENO) == 1, isatty(STDERR_FILENO) == 1 else {
            throw LaminaError(
                .usage, "--yes", "deleting originals must be confirmed, and there is no terminal to ask on",
                hint: "add --yes, or --dry-run to see what would be deleted")
        }
        Console.note(question + " [y/N] ")
        let answer = readLine()?.lowercased() ?? ""
        guard answer == "y" || answer == "yes" else {
            throw LaminaError(.usage, "", "not confirmed: nothing was done")
        }
    }
}
