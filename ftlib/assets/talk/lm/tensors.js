// Files of weights: safetensors (nano, and the adapters of PEFT) and GGUF (smollm2).
//
// Both give a Map from a tensor's name to a matrix, or to a Float32Array where the tensor is a vector. A GGUF file's
// names are changed to those that transformers has, so that an adapter finds its matrices.

import { DenseMatrix, Q4Matrix, Q8Matrix, half } from "./matrices.js";

export class FileError extends Error {}

const TO_FLOAT = {
  F32: (bytes) => new Float32Array(bytes.slice().buffer),
  F16: (bytes) => Float32Array.from(new Uint16Array(bytes.slice().buffer), half),
  // bfloat16 is the upper half of a float32.
  BF16: (bytes) => new Float32Array(Uint32Array.from(new Uint16Array(bytes.slice().buffer), (bits) => bits << 16).buffer),
};

/** Eight bytes with the length of a JSON text, the text, and behind it the tensors. */
export function readSafetensors(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const length = file.byteLength < 8 ? Infinity : Number(view.getBigUint64(0, true));
  if (8 + length > file.byteLength) throw new FileError("it is no safetensors file, or is cut off");
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  const tensors = new Map();
  for (const [name, told] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [begin, end] = told.data_offsets.map((offset) => 8 + length + offset);
    if (!(told.dtype in TO_FLOAT)) throw new FileError(`${name} has numbers of the type ${told.dtype}`);
    if (end > file.byteLength) throw new FileError("it is cut off");
    const numbers = TO_FLOAT[told.dtype](file.subarray(begin, end));
    tensors.set(name, told.shape.length === 2 ? new DenseMatrix(numbers, told.shape) : numbers);
  }
  return tensors;
}

const NAMES = [
  [/^token_embd\./, "model.embed_tokens."],
  [/^output_norm\./, "model.norm."],
  [/^output\./, "lm_head."],
  [/^blk\./, "model.layers."],
  [/\.attn_norm\./, ".input_layernorm."],
  [/\.ffn_norm\./, ".post_attention_layernorm."],
  [/\.attn_output\./, ".self_attn.o_proj."],
  [/\.attn_([qkv])\./, ".self_attn.$1_proj."],
  [/\.ffn_(down|gate|up)\./, ".mlp.$1_proj."],
];
const F32 = 0, Q4_1 = 3, Q8_0 = 8;

/** Walks through a GGUF file: numbers, texts, and values that say their type first. */
class Reader {
  constructor(file) {
    this.view = new DataView(file.buffer, file.byteOffset, file.byteLength);
    this.at = 4;
    const number = (size, get) => () => this.view[get]((this.at += size) - size, true);
    const byte = number(1, "getUint8");
    this.uint32 = number(4, "getUint32");
    const long = number(8, "getBigUint64");
    this.uint64 = () => Number(long());
    const decoder = new TextDecoder();
    this.text = () => {
      const length = this.uint64();
      return decoder.decode(file.subarray(this.at, (this.at += length)));
    };
    const list = () => {
      const read = this.byType[this.uint32()];
      return Array.from({ length: this.uint64() }, read);
    };
    const short = number(2, "getUint16");
    this.byType = [byte, byte, short, short, this.uint32, this.uint32, number(4, "getFloat32"), byte, this.text, list,
      this.uint64, this.uint64, number(8, "getFloat64")];
  }
}

/** Header, facts about the model (passed over: config.json has them), list of tensors, tensors. */
export function readGguf(file, { heads, groups }) {
  if (new TextDecoder().decode(file.subarray(0, 4)) !== "GGUF") throw new FileError("it is no GGUF file");
  const reader = new Reader(file);
  reader.uint32(); // the version
  const [tensorCount, factCount] = [reader.uint64(), reader.uint64()];
  let alignment = 32;
  for (let n = 0; n < factCount; n++) {
    const name = reader.text();
    const value = reader.byType[reader.uint32()]();
    if (name === "general.alignment") alignment = value;
  }
  const told = Array.from({ length: tensorCount }, () => ({
    name: reader.text(),
    shape: Array.from({ length: reader.uint32() }, reader.uint64).reverse(), // the fastest dimension stands first
    type: reader.uint32(),
    offset: reader.uint64(),
  }));
  const data = Math.ceil(reader.at / alignment) * alignment;
  return new Map(told.map(({ name, shape, type, offset }) => {
    const tensor = tensorAt(file, data + offset, shape, type, name);
    if (name.endsWith("attn_q.weight")) unweave(tensor, heads);
    if (name.endsWith("attn_k.weight")) unweave(tensor, groups);
    return [NAMES.reduce((text, [from, to]) => text.replace(from, to), name), tensor];
  }));
}

function tensorAt(file, at, shape, type, name) {
  const Kind = { [Q4_1]: Q4Matrix, [Q8_0]: Q8Matrix }[type];
  if (!Kind && type !== F32) throw new FileError(`${name} has blocks of type ${type}`);
  const weights = shape.reduce((product, size) => product * size);
  const bytes = file.subarray(at, at + (Kind ? (weights / 32) * Kind.blockBytes : 4 * weights));
  if (at + bytes.byteLength > file.byteLength) throw new FileError("it is cut off");
  if (Kind) return new Kind(bytes, shape);
  const numbers = TO_FLOAT.F32(bytes);
  return shape.length === 2 ? new DenseMatrix(numbers, shape) : numbers;
}

/** GGUF files keep the two numbers that are rotated together side by side; transformers has them half a head apart. */
function unweave(matrix, heads) {
  const { bytes, rows } = matrix;
  const size = rows / heads, width = bytes.length / rows, woven = bytes.slice();
  for (let row = 0; row < rows; row++) {
    const place = row % size;
    const from = row - place + (place < size / 2 ? 2 * place : 2 * place - size + 1);
    bytes.set(woven.subarray(from * width, (from + 1) * width), row * width);
  }
}
