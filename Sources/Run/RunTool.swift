import ArgumentParser
import CommandLineSupport
import Text

@main
enum Main {
    static func main() { CommandLineTool.main(RunTool.self) }
}

struct RunTool: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lamina-run",
        abstract: "Run a language model from its layer store, however much memory there is.",
        discussion: """
            Weights are streamed from disk layer by layer and never have to fit in memory; memory that is granted with \
            --memory holds what need not be read again. Results are the same to the bit whatever the memory, the \
            number of threads and the processor.

            Examples:
              lamina-run smollm2.lamina --prompt "The capital of France is"
              lamina-run smollm2.lamina --chat --prompt "What is a layer store?" --memory 512MiB
              lamina-run chat smollm2.lamina
              lamina-run plan llama.lamina --memory 4GiB
              lamina-run batch llama.lamina --input prompts.jsonl --output answers.jsonl
              lamina-run perplexity smollm2.lamina
              lamina-run logits smollm2.lamina --ids 504,2849 --json

            \(exitCodeHelp)
            """,
        version: versionText(tool: "lamina-run", libraries: [("pcre2", patternLibraryVersion)]),
        subcommands: [
            GenerateCommand.self, ChatCommand.self, BatchCommand.self, PlanCommand.self, LogitsCommand.self,
            PerplexityCommand.self, ScoreCommand.self, TokenizeCommand.self, DetokenizeCommand.self, RenderCommand.self,
        ],
        defaultSubcommand: GenerateCommand.self)
}
