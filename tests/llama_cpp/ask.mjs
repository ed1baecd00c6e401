// Ask the real llama.cpp: it reads a GGUF file, lays out each conversation with the template in it, and writes greedily.
// node ask.mjs FOLDER, where FOLDER/node_modules is what `make llama` installed; JSON comes and goes on standard streams:
// {model, lora, context, limit, conversations} becomes {answers: [{prompt, ids, text, stopped, seconds}]}.
import path from "node:path";
import {pathToFileURL} from "node:url";
import {readFileSync} from "node:fs";

const packages = path.resolve(process.argv[2], "node_modules");
const load = (...names) => import(pathToFileURL(path.join(packages, ...names)));
const {getLlama, LlamaLogLevel} = await load("node-llama-cpp", "dist", "index.js");
const {Template} = await load("@huggingface", "jinja", "dist", "index.js");
const asked = JSON.parse(readFileSync(0, "utf-8"));

const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: 1});
const model = await llama.loadModel({modelPath: asked.model});
const lora = asked.lora ? {adapters: [{filePath: asked.lora}]} : undefined;
const context = await model.createContext({contextSize: asked.context, batchSize: asked.context, lora});
const told = model.fileInfo.metadata.tokenizer;
const token = (id) => id === undefined ? undefined : told.ggml.tokens[id];
const template = new Template(told.chat_template);

const answers = [];
for (const messages of asked.conversations) {
    const given = {messages, add_generation_prompt: true};
    given.bos_token = token(told.ggml.bos_token_id);
    given.eos_token = token(told.ggml.eos_token_id);
    const prompt = model.tokenize(template.render(given), true);
    const sequence = context.getSequence();
    const ids = [];
    let stopped = true;
    const started = performance.now();
    for await (const id of sequence.evaluate(prompt, {temperature: 0})) {  // it ends where a token ends the text
        ids.push(id);
        if (ids.length === asked.limit) {
            stopped = false;
            break;
        }
    }
    sequence.dispose();
    answers.push({prompt, ids, text: model.detokenize(ids), stopped, seconds: (performance.now() - started) / 1000});
}
process.stdout.write(JSON.stringify({answers}));
await llama.dispose();
