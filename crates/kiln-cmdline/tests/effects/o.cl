__kernel void scale(__global float *a, __global const float *b, float k) { int i = 0; a[i] = b[i] / k + a[i] * k - 1.0f; a[i + 1] = -0.0f + a[i]; }
