// Matrices as they lie in the file, and the one thing that is done with them: products with vectors.
//
// Every matrix has `rows` and `columns`, `row(index, into)`, and `times(vectors, count)`: the products with `count`
// vectors that lie one behind the other. Numbers in work are doubles; weights stay as small as they are.

// A half-precision number has only 65,536 values: each is computed once.
const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  const size = exponent === 31 ? Infinity : exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
  return bits >> 15 ? -size : size;
});
export const half = (bits) => HALF[bits];

class Matrix {
  times(vectors, count = 1) {
    const out = new Float64Array(count * this.rows);
    if (count === 1 && this.rows % 4 === 0) this.timesOne(vectors, out);
    else this.timesMany(vectors, count, out);
    return out;
  }

  /** With several vectors it pays to unpack each row, once for all of them; four vectors at a time share its numbers. */
  timesMany(vectors, count, out) {
    const { rows, columns } = this;
    const row = new Float64Array(columns);
    for (let r = 0; r < rows; r++) {
      this.row(r, row);
      let v = 0;
      for (; v + 4 <= count; v += 4) {
        const v0 = v * columns, v1 = v0 + columns, v2 = v1 + columns, v3 = v2 + columns;
        let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (let j = 0; j < columns; j++) {
          const weight = row[j];
          s0 += weight * vectors[v0 + j];
          s1 += weight * vectors[v1 + j];
          s2 += weight * vectors[v2 + j];
          s3 += weight * vectors[v3 + j];
        }
        const to = v * rows + r;
        out[to] = s0; out[to + rows] = s1; out[to + 2 * rows] = s2; out[to + 3 * rows] = s3;
      }
      for (; v < count; v++) out[v * rows + r] = dot(row, 0, vectors, v * columns, columns);
    }
  }
}

// Below, `timesOne` takes four rows at a time: a number of the vector is fetched once for them.

/** A matrix of float32 numbers. */
export class DenseMatrix extends Matrix {
  constructor(numbers, [rows, columns]) {
    super();
    Object.assign(this, { numbers, rows, columns });
  }

  row(index, into) {
    into.set(this.numbers.subarray(index * this.columns, (index + 1) * this.columns));
  }

  timesOne(vector, out) {
    const { numbers: w, rows, columns } = this;
    for (let r = 0; r < rows; r += 4) {
      const r0 = r * columns, r1 = r0 + columns, r2 = r1 + columns, r3 = r2 + columns;
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let j = 0; j < columns; j++) {
        const x = vector[j];
        s0 += w[r0 + j] * x;
        s1 += w[r1 + j] * x;
        s2 += w[r2 + j] * x;
        s3 += w[r3 + j] * x;
      }
      out[r] = s0; out[r + 1] = s1; out[r + 2] = s2; out[r + 3] = s3;
    }
  }
}

/** A matrix whose rows are blocks of 32 weights. */
class BlockMatrix extends Matrix {
  constructor(bytes, [rows, columns]) {
    super();
    const { buffer, byteOffset, byteLength } = bytes;
    Object.assign(this, { bytes, rows, columns, perRow: columns / 32 });
    this.signed = new Int8Array(buffer, byteOffset, byteLength);
    this.words = new Uint16Array(buffer, byteOffset, byteLength / 2);
  }

  half(at) {
    return HALF[this.words[at >> 1]];
  }
}

/** Q4_1: a step and a lowest value in half precision, then 16 bytes; a byte holds weight k and, above, weight k + 16. */
export class Q4Matrix extends BlockMatrix {
  static blockBytes = 20;

  row(index, into) {
    for (let block = 0; block < this.perRow; block++) {
      const at = 20 * (index * this.perRow + block), first = 32 * block;
      const step = this.half(at), lowest = this.half(at + 2);
      for (let k = 0; k < 16; k++) {
        const byte = this.bytes[at + 4 + k];
        into[first + k] = step * (byte & 15) + lowest;
        into[first + 16 + k] = step * (byte >> 4) + lowest;
      }
    }
  }

  // The lowest value of a block is the same for its 32 weights, so it meets the sum of the vector's 32 numbers.
  timesOne(x, out) {
    const { bytes, rows, perRow } = this;
    const width = 20 * perRow;
    const sums = Float64Array.from({ length: perRow }, (_, block) => sum(x, 32 * block, 32));
    for (let r = 0; r < rows; r += 4) {
      let t0 = 0, t1 = 0, t2 = 0, t3 = 0;
      for (let block = 0; block < perRow; block++) {
        const b0 = r * width + 20 * block, b1 = b0 + width, b2 = b1 + width, b3 = b2 + width, first = 32 * block;
        let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (let k = 0; k < 16; k++) {
          const low = x[first + k], high = x[first + 16 + k];
          const q0 = bytes[b0 + 4 + k], q1 = bytes[b1 + 4 + k], q2 = bytes[b2 + 4 + k], q3 = bytes[b3 + 4 + k];
          s0 += (q0 & 15) * low + (q0 >> 4) * high;
          s1 += (q1 & 15) * low + (q1 >> 4) * high;
          s2 += (q2 & 15) * low + (q2 >> 4) * high;
          s3 += (q3 & 15) * low + (q3 >> 4) * high;
        }
        t0 += this.half(b0) * s0 + this.half(b0 + 2) * sums[block];
        t1 += this.half(b1) * s1 + this.half(b1 + 2) * sums[block];
        t2 += this.half(b2) * s2 + this.half(b2 + 2) * sums[block];
        t3 += this.half(b3) * s3 + this.half(b3 + 2) * sums[block];
      }
      out[r] = t0; out[r + 1] = t1; out[r + 2] = t2; out[r + 3] = t3;
    }
  }
}

/** Q8_0: a step in half precision, then 32 signed bytes. */
export class Q8Matrix extends BlockMatrix {
  static blockBytes = 34;

  row(index, into) {
    for (let block = 0; block < this.perRow; block++) {
      const at = 34 * (index * this.perRow + block);
      for (let k = 0; k < 32; k++) into[32 * block + k] = this.half(at) * this.signed[at + 2 + k];
    }
  }

  timesOne(x, out) {
    const { signed, rows, perRow } = this;
    const width = 34 * perRow;
    for (let r = 0; r < rows; r += 4) {
      let t0 = 0, t1 = 0, t2 = 0, t3 = 0;
      for (let block = 0; block < perRow; block++) {
        const b0 = r * width + 34 * block, b1 = b0 + width, b2 = b1 + width, b3 = b2 + width, first = 32 * block;
        let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (let k = 0; k < 32; k++) {
          const number = x[first + k];
          s0 += signed[b0 + 2 + k] * number;
          s1 += signed[b1 + 2 + k] * number;
          s2 += signed[b2 + 2 + k] * number;
          s3 += signed[b3 + 2 + k] * number;
        }
        t0 += this.half(b0) * s0;
        t1 += this.half(b1) * s1;
        t2 += this.half(b2) * s2;
        t3 += this.half(b3) * s3;
      }
      out[r] = t0; out[r + 1] = t1; out[r + 2] = t2; out[r + 3] = t3;
    }
  }
}

export function dot(a, atA, b, atB, length) {
  let total = 0;
  for (let j = 0; j < length; j++) total += a[atA + j] * b[atB + j];
  return total;
}

function sum(x, at, length) {
  let total = 0;
  for (let j = 0; j < length; j++) total += x[at + j];
  return total;
}
