#version 330 core
// One triangle that covers the viewport; place is (0, 0) at its lower left and (1, 1) at its upper right corner.

out vec2 place;

void main() {
    place = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2);
    gl_Position = vec4(place * 2.0 - 1.0, 0.0, 1.0);
}
